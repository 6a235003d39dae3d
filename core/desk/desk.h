// The desk: what trainctl asks of a cluster, done there, beside the run root: on the login node, as the user. Each
// call is a process of its own: it reads one request, says messages and one answer, and keeps nothing.
#pragma once

#include "base/files.h"
#include "base/json.h"
#include "recovery/reconcile.h"
#include "run/journal.h"
#include "run/run_files.h"
#include "slurm/parse.h"

#include <functional>
#include <memory>
#include <string>

namespace trainctl {

// One call while it is served, and the seams through which it touches the cluster.
struct DeskCall {
    const Json &request;
    std::string root;                       // absolute
    Files &files;
    Scheduler &scheduler;
    Clock &clock;
    std::function<Result<std::vector<Partition>>()> partitions; // of the cluster
    std::function<void(const Json &)> say;  // a message before the answer
    std::string who;                        // "desk pid 12 on login1"
    std::function<Result<void>(JobId, std::chrono::minutes)> limit_time = {}; // of a running job, from its start
    // How long ago a file was written, by the clock of its own file system; nothing where that can't be told.
    std::function<std::optional<Duration>(const std::string &path)> age = {};
    std::unique_ptr<JournalWriter> journal = {}; // of the run that this call is about, from its first fact on

    // A fact about an attempt, for the run's journal. Nothing depends on it: where it can't be written, that is said.
    void note(const RunPaths &paths, AttemptNo about, const std::string &event, const std::string &text);
    // For the protocol; what it does goes into the journal, too.
    World world(const RunPaths &paths);
    std::string text(const char *key) const { return request.value(key, ""); }
};

// The verb's answer. Errors: its own; invalid for a verb that is none.
Result<Json> serve_desk(DeskCall &call);

// One verb each; the table is in desk.cpp.
Result<Json> desk_submit(DeskCall &call);
Result<Json> desk_status(DeskCall &call);
Result<Json> desk_list(DeskCall &call);
Result<Json> desk_logs(DeskCall &call);
Result<Json> desk_stop(DeskCall &call);   // verbs "stop" and "cancel"
Result<Json> desk_resume(DeskCall &call);
Result<Json> desk_checkpoint_now(DeskCall &call);
Result<Json> desk_explain(DeskCall &call);
Result<Json> desk_nodes(DeskCall &call);
Result<Json> desk_checkpoints(DeskCall &call);
Result<Json> desk_drill(DeskCall &call);  // "do": plan, inject, watch

// Reads a request from stdin, serves it, answers on stdout. The process's exit code: 0 where there is an answer,
// errors included.
int desk_main();

// Shared by the verbs. Somebody waits for the answer: a silent Slurm is told soon, and the next call goes on.
ProtocolLimits desk_limits(const LoadedRun &run);
Result<RunPaths> run_of(const DeskCall &call);
Journal read_run_journal(Files &files, const RunPaths &paths);
// The attempt that runs now, by Slurm's word. Errors: refused, where the run has ended, is to stop or waits.
struct TrainingNow {
    AttemptNo no;
    JobId job;
    std::string host; // the head's node
    std::optional<ProgressFile> progress;
};
Result<TrainingNow> training_now(DeskCall &call, const RunPaths &paths);
// control/<name>, and what it says.
struct Wish {
    std::string name;
    Json content;
};
// On a full disk the run's reserve is given up for it: ending something is how space is made.
Result<void> write_wish(DeskCall &call, const RunPaths &paths, const Wish &wish);
// And tells the head to look.
Result<void> wish_and_ring(DeskCall &call, const RunPaths &paths, JobId job, const Wish &wish);
Result<Json> status_of(DeskCall &call, const RunPaths &paths, bool act);
// Puts the run right where that is wanted.
Result<Reconciled> put_right(DeskCall &call, const LoadedRun &run, bool act);

} // namespace trainctl

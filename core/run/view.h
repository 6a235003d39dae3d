// A run directory as it looks now, read in one pass: values for the decisions. Reading is I/O through Files;
// what is derived from a view is pure.
#pragma once

#include "base/files.h"
#include "run/records.h"
#include "slurm/scheduler.h"

namespace trainctl {

// Stands in a claim that can't be read: somebody has the attempt, and no job has this id, so that nothing Slurm says
// of any job proves that this owner is dead.
inline constexpr JobId unreadable_owner{~std::uint64_t{0}};

struct AttemptView {
    AttemptNo no;
    std::vector<Intent> intents;       // intent.json, intent.1.json, ...: the last one may call sbatch, once
    std::optional<std::string> rejected; // sbatch's words, when the last intent was refused
    std::optional<JobFile> job;
    std::vector<Claim> claims;         // the last one counts
    std::optional<ProgressFile> progress;
    std::optional<Outcome> outcome;    // of the owner; not what an earlier start of its job left
    std::optional<Verdict> verdict;
    std::optional<Abandoned> abandoned;
    bool head_began = false;           // of one that nobody claimed: a job of it got as far as our program
    std::uint64_t beat = 0;            // of the progress; changes with each writing of one that can't be read, too
    std::vector<Error> problems;       // files that are there and can't be understood: see look_at_attempt

    bool sealed() const { return !claims.empty() && claims.back().is_seal(); }
    // The job that trains or trained as this attempt; nothing when nobody ever claimed it.
    std::optional<Claim> owner() const;
    // When anything was known of it last, in Unix seconds of whoever wrote that; 0: never.
    std::int64_t last_known() const;
};

// Is this the job that claimed the attempt? By id and Slurm's submit time, of jobs that were asked for by the attempt's
// name: ids come round again, and a requeue is another life of the job. A record without the time is compared by id.
bool is_owners_job(const AttemptView &attempt, const JobSighting &job);

struct RunView {
    std::optional<Ended> ended;
    EndWish end_wish = EndWish::none;
    AttemptNo forgiven;                // attempts up to this one came before the user's last `resume`
    std::vector<AttemptView> attempts; // 001, 002, ... without gaps

    bool stop_wished() const { return end_wish != EndWish::none; }
    const AttemptView *find(AttemptNo no) const;
    const AttemptView *last() const { return attempts.empty() ? nullptr : &attempts.back(); }
};

// ended.json is kept under this name when the user resumes the run.
std::string retired_end(AttemptNo last);

// What a head leaves in its attempt's folder before all else.
std::string began_file(JobId job, int restarts);

// Names of the slots that claims and intents are linked to, one after another.
std::string claim_slot(std::size_t index);
std::string intent_slot(std::size_t index);

// What control/stop asks for; one that is there and can't be read or understood is a stop.
EndWish end_wish(Files &files, const RunPaths &paths);
Result<RunView> look_at_run(Files &files, const RunPaths &paths);
// Errors: reading failed, or a claim can't be understood.
Result<std::vector<Claim>> read_claims(Files &files, const RunPaths &paths, AttemptNo no);
// A file that can't be understood is a problem of the view, and never evidence of death: a claim stands for an unknown
// owner, an intent for an sbatch that may have been called, a missing outcome or verdict for an end not known yet.
// Errors: reading failed.
Result<AttemptView> look_at_attempt(Files &files, const RunPaths &paths, AttemptNo no);

// One file as a record; nothing where there is none.
template <class T> Result<std::optional<T>> read_record_file(Files &files, const std::string &path) {
    auto content = files.read(path);
    if (!content)
        return content.error();
    if (!*content)
        return std::optional<T>{};
    auto record = from_json_text<T>(**content, path);
    if (!record)
        return record.error();
    return std::optional<T>{std::move(*record)};
}

template <class T> Result<void> write_record_file(Files &files, const std::string &path, const T &record) {
    return files.write(path, dump_json(to_json(record), 2) + "\n");
}

template <class T> Result<bool> publish_record_file(Files &files, const std::string &path, const T &record) {
    return files.publish(path, dump_json(to_json(record), 2) + "\n");
}

} // namespace trainctl

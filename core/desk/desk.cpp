#include "desk/desk.h"

#include "base/hash.h"
#include "cluster/profile.h"
#include "desk/file_age.h"
#include "desk/wire.h"
#include "slurm/slurm_scheduler.h"

#include <array>
#include <csignal>
#include <cstdio>
#include <fmt/format.h>
#include <iterator>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

namespace trainctl {

namespace {

struct Verb {
    std::string_view name;
    Result<Json> (*serve)(DeskCall &);
};

constexpr std::array verbs{
    Verb{"submit", desk_submit}, Verb{"status", desk_status}, Verb{"list", desk_list},     Verb{"logs", desk_logs},
    Verb{"stop", desk_stop},     Verb{"cancel", desk_stop},   Verb{"resume", desk_resume},
    Verb{"checkpoint-now", desk_checkpoint_now}, Verb{"checkpoints", desk_checkpoints}, Verb{"drill", desk_drill},
    Verb{"explain", desk_explain}, Verb{"nodes", desk_nodes},
};

// SSH gives the whole request as one line; more than this is no request of ours.
constexpr std::size_t longest_request = 16u << 20;

std::string read_line() {
    std::string line;
    for (int c = std::getchar(); c != EOF && c != '\n' && line.size() < longest_request; c = std::getchar())
        line += static_cast<char>(c);
    return line;
}

// SIGTERM comes when whoever asked has gone. What is begun, an sbatch above all, is ended first: only between two steps,
// where the desk speaks or sleeps, may it go.
volatile std::sig_atomic_t told_to_end = 0;

void end_if_told() {
    if (told_to_end != 0)
        ::_exit(1);
}

void listen_for_the_end() {
    struct sigaction action {};
    action.sa_handler = [](int) { told_to_end = 1; };
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGTERM, &action, nullptr);
}

class DeskClock final : public Clock {
public:
    Instant now() override { return clock_.now(); }
    WallTime wall() override { return clock_.wall(); }
    void sleep_for(Duration duration) override {
        end_if_told();
        clock_.sleep_for(duration);
        end_if_told();
    }

private:
    SystemClock clock_;
};

void say(const Json &message) {
    end_if_told();
    const std::string line = std::string{desk_mark} + dump_json(message) + "\n";
    std::fwrite(line.data(), 1, line.size(), stdout);
    if (std::fflush(stdout) != 0)
        ::_exit(1); // the link is gone; what was done is on disk
}

// The real machine under one call.
Result<Json> serve(const Json &request) {
    const auto root = expand_home(request.value("root", ""), own_variable("HOME", "/"));
    if (!root.starts_with("/"))
        return Error{ErrorKind::invalid, "the run root is not absolute", root, "give an absolute `root` in the cluster's profile, or one in ~/"};
    auto tools = find_slurm_tools(own_environment());
    if (!tools)
        return tools.error();
    tools->user = std::to_string(::getuid());
    SlurmScheduler scheduler{*tools};
    PosixFiles files;
    DeskClock clock;
    char host[64] = "";
    ::gethostname(host, sizeof host - 1);
    DeskCall call{request, root, files, scheduler, clock, [&] { return scheduler.partitions(); }, say,
                  fmt::format("desk pid {} on {}", ::getpid(), host),
                  [&](JobId job, std::chrono::minutes limit) { return scheduler.limit_time(job, limit); }, file_age};
    return serve_desk(call);
}

Json error_json(const Error &error) {
    return {{"kind", to_string(error.kind)}, {"message", error.message}, {"where", error.where}, {"hint", error.hint}};
}

} // namespace

int desk_main() {
    ::umask(077);
    listen_for_the_end();
    auto request = parse_json(read_line(), "request");
    auto answer = !request ? Result<Json>{request.error()}
                  : !request->is_object() ? Result<Json>{Error{ErrorKind::invalid, "the request is not an object", "", ""}}
                                          : serve(*request);
    if (answer)
        say({{"answer", *answer}});
    else
        say({{"answer", {{"error", error_json(answer.error())}}}});
    return 0;
}

Result<Json> serve_desk(DeskCall &call) {
    const auto name = call.text("verb");
    for (const auto &verb : verbs)
        if (verb.name == name)
            return verb.serve(call);
    return Error{ErrorKind::invalid, "the desk knows no verb '" + name + "'", "", "trainctl and its agent are of different versions"};
}

void DeskCall::note(const RunPaths &paths, AttemptNo about, const std::string &event, const std::string &text) {
    if (!journal) // each call is a process of its own, and so is its file
        journal = std::make_unique<JournalWriter>(files, clock, paths, fmt::format("desk-{}-{}", unix_seconds(clock.wall()), random_hex(4)), AttemptNo{0});
    if (auto added = journal->add(about, event, {{"text", text}, {"by", who}}); !added)
        say({{"problem", added.error().text()}});
}

World DeskCall::world(const RunPaths &paths) {
    return {files, scheduler, clock, who, [this, paths](AttemptNo about, const std::string &event, const std::string &text) { note(paths, about, event, text); }};
}

ProtocolLimits desk_limits(const LoadedRun &run) {
    ProtocolLimits limits = limits_of(run.experiment, run.info);
    limits.make_patience = std::chrono::seconds{30};
    return limits;
}

Result<Reconciled> put_right(DeskCall &call, const LoadedRun &run, bool act) {
    World world = call.world(run.paths);
    const auto prepare = [&](const MakeRequest &make) { return prepare_submission(call.files, run, make); };
    return reconcile(world, run.paths, {run.experiment.recovery, desk_limits(run), ::getuid(), act, prepare});
}

Result<RunPaths> run_of(const DeskCall &call) {
    const auto wanted = call.text("run");
    if (valid_run_id(wanted)) {
        const RunPaths paths{call.root, RunId{wanted}};
        auto info = call.files.read(paths.file("run.json"));
        if (!info)
            return info.error();
        if (*info)
            return paths;
    }
    // The beginning of an id is enough where it is the only one.
    auto names = call.files.list(join_path(call.root, "runs"));
    if (!names)
        return names.error();
    std::vector<std::string> meant;
    for (const auto &name : *names)
        if (!wanted.empty() && valid_run_id(name) && name.starts_with(wanted))
            meant.push_back(name);
    if (meant.size() == 1)
        return RunPaths{call.root, RunId{meant.front()}};
    return Error{ErrorKind::not_found, meant.empty() ? "there is no run '" + wanted + "'" : fmt::format("{} runs begin with '{}'", meant.size(), wanted),
                 call.root, "trainctl list shows the runs"};
}

} // namespace trainctl

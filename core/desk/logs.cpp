#include "desk/desk.h"

#include "base/text.h"

#include <algorithm>
#include <fcntl.h>
#include <fmt/format.h>
#include <map>
#include <sys/stat.h>
#include <unistd.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration poll = 500ms;             // a stat of a few files: cheap for a login node
constexpr Duration reconcile_every = 30s;    // whether the run still lives, and goes on if it can
constexpr Duration reconcile_pending = 3s;   // while a job is on its way to its nodes, for the first minute
constexpr Duration alive_every = 15s;        // a word now and then: writing it is how a lost link is noticed
constexpr std::size_t piece_size = 256u << 10;

// New text of log files, remembered by offset. Only whole lines go out.
class LogReader {
public:
    LogReader(DeskCall &call, RunPaths paths) : call_(call), paths_(std::move(paths)) {
        if (const auto given = call.request.find("offsets"); given != call.request.end() && given->is_object())
            for (const auto &[file, offset] : given->items())
                offsets_[file] = offset.is_number() ? offset.get<std::int64_t>() : 0;
    }

    // Files of the attempts from `first` on, relative to attempts/: "001/logs/g01/n1.log".
    Result<std::vector<std::string>> files(int first, bool all) const {
        std::vector<std::string> out;
        auto attempts = call_.files.list(paths_.attempts());
        if (!attempts)
            return attempts.error();
        for (const auto &attempt : *attempts) {
            const auto no = parse_attempt_no(attempt);
            if (!no || no->value < first)
                continue;
            auto names = call_.files.list(join_path(paths_.attempts(), attempt + "/logs"));
            if (!names)
                return names.error();
            for (const auto &name : *names) {
                if (all && name.ends_with(".log"))
                    out.push_back(attempt + "/logs/" + name);
                // The setup's are of interest where it was the end: no rank has printed anything.
                if (!name.starts_with("g") && !(name == "setup" && (all || !any_generation(*names))))
                    continue;
                auto nodes = call_.files.list(join_path(paths_.attempts(), attempt + "/logs/" + name));
                for (const auto &node : nodes ? *nodes : std::vector<std::string>{})
                    if (node.ends_with(".log"))
                        out.push_back(attempt + "/logs/" + name + "/" + node);
            }
        }
        return out;
    }

    // Says what is new in a file; false where nothing was.
    bool pass_on(const std::string &file) {
        auto &offset = offsets_[file];
        const int fd = ::open(join_path(paths_.attempts(), file).c_str(), O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return false;
        struct stat info {};
        if (::fstat(fd, &info) == 0 && info.st_size < offset)
            offset = 0; // rotated: what is here now is new
        std::string piece(piece_size, '\0');
        const auto n = ::pread(fd, piece.data(), piece.size(), offset);
        ::close(fd);
        piece.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
        const auto last = piece.rfind('\n');
        if (last != std::string::npos)
            piece.resize(last + 1);
        else if (piece.size() < piece_size)
            return false; // half a line: it goes on
        offset += static_cast<std::int64_t>(piece.size());
        call_.say({{"log", {{"file", file}, {"offset", offset}, {"text", valid_utf8(piece)}}}});
        return !piece.empty();
    }

    // Starts `lines` lines before the end of a file.
    void skip_to_tail(const std::string &file, std::int64_t lines) {
        if (offsets_.contains(file))
            return;
        auto content = call_.files.read(join_path(paths_.attempts(), file));
        if (!content || !*content)
            return;
        std::size_t at = (*content)->size();
        for (std::int64_t i = 0; i <= lines && at != std::string::npos && at > 0; ++i)
            at = (*content)->rfind('\n', at - 1);
        offsets_[file] = at == std::string::npos || at == 0 ? 0 : static_cast<std::int64_t>(at + 1);
    }

private:
    static bool any_generation(const std::vector<std::string> &names) {
        return std::any_of(names.begin(), names.end(), [](const auto &name) { return name.starts_with("g"); });
    }

    DeskCall &call_;
    const RunPaths paths_;
    std::map<std::string, std::int64_t> offsets_;
};

// What is worth a line when it changes: the state, the words on it, which attempts have trained, and why those before the
// newest one ended, which is known a moment after that has begun.
std::string short_state(const Json &status) {
    std::size_t trained = 0, judged = 0;
    for (const auto &attempt : status["attempts"])
        if (!attempt["owner"].is_null()) {
            ++trained;
            judged += attempt["verdict"].is_null() ? 0u : 1u;
        }
    return fmt::format("{}|{}|{}|{}", status.value("state", ""), status.value("text", ""), trained, std::min(judged + 1, trained));
}

struct LogWishes {
    bool follow, all, quiet;
    int attempt;
    std::int64_t tail;
};

Result<bool> pass_on_all(LogReader &reader, const LogWishes &wishes) {
    if (wishes.quiet)
        return false;
    auto files = reader.files(wishes.attempt, wishes.all);
    if (!files)
        return files.error();
    bool any = false;
    for (const auto &file : *files)
        while (reader.pass_on(file))
            any = true;
    return any;
}

// What the run directory shows of the attempts, without asking Slurm: one file or more changes at each turn.
std::string turn_of(DeskCall &call, const RunPaths &paths) {
    auto attempts = call.files.list(paths.attempts());
    std::string text;
    for (const auto &attempt : attempts ? *attempts : std::vector<std::string>{})
        for (const auto *file : {"claim", "outcome.json", "verdict.json"})
            if (::access(join_path(paths.attempts(), attempt + "/" + file).c_str(), F_OK) == 0)
                text += attempt + file;
    return text;
}

// Until the run has ended; says the status whenever it changed.
Result<Json> follow(DeskCall &call, const RunPaths &paths, LogReader &reader, const LogWishes &wishes) {
    std::string said, turn;
    Instant looked{};
    const Instant begun = call.clock.now();
    Instant spoken = begun;
    bool pending = true;
    for (;;) {
        auto ended = call.files.read(paths.file("ended.json"));
        if (!ended)
            return ended.error();
        if (auto passed = pass_on_all(reader, wishes); !passed)
            return passed.error();
        const Instant now_at = call.clock.now();
        if (now_at - spoken >= alive_every) {
            call.say({{"alive", true}});
            spoken = now_at;
        }
        const bool waiting = pending && now_at - begun < 1min;
        const auto turned = turn_of(call, paths);
        if (turned != turn || *ended || now_at - looked >= (waiting ? reconcile_pending : reconcile_every)) {
            turn = turned;
            auto status = status_of(call, paths, true);
            if (!status)
                return status.error();
            looked = call.clock.now();
            pending = status->value("state", "") == "pending" || status->value("state", "") == "starting";
            if (auto now = short_state(*status); now != said) {
                said = now;
                call.say({{"status", *status}});
            }
            if (*ended)
                return status;
        }
        call.clock.sleep_for(poll);
    }
}

} // namespace

Result<Json> desk_logs(DeskCall &call) {
    auto paths = run_of(call);
    if (!paths)
        return paths.error();
    const Json &request = call.request;
    LogWishes wishes{request.value("follow", false), request.value("all", false), request.value("quiet", false), request.value("attempt", 0),
                     request.value("tail", std::int64_t{-1})};
    auto view = look_at_run(call.files, *paths);
    if (!view)
        return view.error();
    if (wishes.attempt > 0 && view->find(AttemptNo{wishes.attempt}) == nullptr)
        return Error{ErrorKind::not_found, fmt::format("there is no attempt {}; the run has {}", wishes.attempt, view->attempts.size()), paths->dir(),
                     "trainctl status " + paths->run.value + " shows its attempts"};
    if (wishes.attempt == 0) // the newest that has trained, and those after it
        for (const auto &attempt : view->attempts)
            if (attempt.owner())
                wishes.attempt = attempt.no.value;
    LogReader reader{call, *paths};
    if (wishes.tail >= 0) {
        auto files = reader.files(wishes.attempt, wishes.all);
        if (!files)
            return files.error();
        for (const auto &file : *files)
            reader.skip_to_tail(file, wishes.tail);
    }
    if (wishes.follow)
        return follow(call, *paths, reader, wishes);
    if (auto passed = pass_on_all(reader, wishes); !passed)
        return passed.error();
    return status_of(call, *paths, false);
}

} // namespace trainctl

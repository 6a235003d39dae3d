#include "desk/desk.h"

#include "base/text.h"
#include "desk/log_reader.h"

#include <algorithm>
#include <fmt/format.h>
#include <set>
#include <unistd.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration poll = 500ms;             // a stat of a few files: cheap for a login node
constexpr Duration reconcile_every = 30s;    // whether the run still lives, and goes on if it can
constexpr Duration reconcile_pending = 3s;   // while a job is on its way to its nodes, for the first minute
constexpr Duration most_trouble = 10min;     // without one look that went well
constexpr Duration alive_every = 15s;        // a word now and then: writing it is how a lost link is noticed

// What the ranks print, from where it was passed on last.
class LogTeller {
public:
    LogTeller(DeskCall &call, const RunPaths &paths) : call_(call), attempts_(paths.attempts()), reader_(attempts_) {
        const auto places = call.request.find("places");
        if (places == call.request.end() || !places->is_object())
            return;
        for (const auto &[file, place] : places->items())
            if (place.is_object())
                reader_.go_to(file, {place.value("inode", std::uint64_t{0}), place.value("offset", std::int64_t{0})});
    }

    // Of the attempts from `first` on; true where anything was new.
    Result<bool> pass_on(int first, bool all) {
        auto files = log_files(first, all);
        if (!files)
            return files.error();
        bool any = false;
        for (const auto &file : *files)
            while (pass_on(file))
                any = true;
        return any;
    }

    // What is there begins `lines` lines before its end, or at its beginning where that is less than 0. Says from where on
    // it is followed: who lost the link asks for that, and misses nothing that came meanwhile.
    Result<void> begin(int first, bool all, std::int64_t lines) {
        auto files = log_files(first, all);
        if (!files)
            return files.error();
        for (const auto &file : *files)
            if (lines >= 0)
                if (auto skipped = reader_.skip_to_tail(file, lines); !skipped)
                    return skipped;
        Json places = Json::object();
        for (const auto &[file, place] : reader_.places())
            places[file] = {{"inode", place.inode}, {"offset", place.offset}};
        call_.say({{"following", {{"attempt", first}, {"places", places}}}});
        return {};
    }

private:
    // Relative to attempts/: "001/logs/g01/n1.log".
    Result<std::vector<std::string>> log_files(int first, bool all) const {
        std::vector<std::string> out;
        auto attempts = call_.files.list(attempts_);
        if (!attempts)
            return attempts.error();
        for (const auto &attempt : *attempts) {
            const auto no = parse_attempt_no(attempt);
            if (!no || no->value < first)
                continue;
            auto names = call_.files.list(join_path(attempts_, attempt + "/logs"));
            if (!names)
                return names.error();
            const bool any_generation = std::any_of(names->begin(), names->end(), [](const auto &name) { return name.starts_with("g"); });
            for (const auto &name : *names) {
                if (all && name.ends_with(".log"))
                    out.push_back(attempt + "/logs/" + name);
                // The setup's are of interest where it was the end: no rank has printed anything.
                if (!name.starts_with("g") && !(name == "setup" && (all || !any_generation)))
                    continue;
                auto nodes = call_.files.list(join_path(attempts_, attempt + "/logs/" + name));
                for (const auto &node : nodes ? *nodes : std::vector<std::string>{})
                    if (node.ends_with(".log"))
                        out.push_back(attempt + "/logs/" + name + "/" + node);
            }
        }
        return out;
    }

    bool pass_on(const std::string &file) {
        auto piece = reader_.next(file);
        if (!piece) {
            if (told_.insert(file).second)
                call_.say({{"problem", piece.error().text()}});
            return false;
        }
        if (piece->text.empty())
            return false;
        call_.say({{"log", {{"file", file}, {"inode", piece->place.inode}, {"offset", piece->place.offset}, {"text", valid_utf8(piece->text)}}}});
        return true;
    }

    DeskCall &call_;
    const std::string attempts_;
    LogReader reader_;
    std::set<std::string> told_; // files that can't be read
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

// Passes on what happens until the run has ended; says the status whenever it changed.
class Follower {
public:
    Follower(DeskCall &call, const RunPaths &paths, LogTeller &teller, const LogWishes &wishes)
        : call_(call), paths_(paths), teller_(teller), wishes_(wishes), begun_(call.clock.now()), spoken_(begun_), heard_(begun_) {}

    // A full disk, a file server that is away: the run goes on, and so does this.
    Result<Json> run() {
        for (;; call_.clock.sleep_for(poll)) {
            auto end = look();
            const Instant now = call_.clock.now();
            if (end && *end)
                return std::move(**end);
            if (end)
                heard_ = now;
            else if (end.error().kind == ErrorKind::not_found || end.error().kind == ErrorKind::invalid || now - heard_ >= most_trouble)
                return end.error();
            else if (const auto text = end.error().text(); text != said_)
                call_.say({{"problem", said_ = text}});
            if (now - spoken_ >= alive_every) {
                call_.say({{"alive", true}});
                spoken_ = now;
            }
        }
    }

private:
    // The status once the run has ended.
    Result<std::optional<Json>> look() {
        auto ended = call_.files.read(paths_.file("ended.json"));
        if (!ended)
            return ended.error();
        if (!wishes_.quiet)
            if (auto passed = teller_.pass_on(wishes_.attempt, wishes_.all); !passed)
                return passed.error();
        const Instant now = call_.clock.now();
        const bool waiting = pending_ && now - begun_ < 1min;
        const auto turned = turn_of(call_, paths_);
        if (turned == turn_ && !*ended && now - looked_ < (waiting ? reconcile_pending : reconcile_every))
            return std::optional<Json>{};
        looked_ = now;
        auto status = status_of(call_, paths_, true);
        if (!status)
            return status.error();
        turn_ = turned;
        looked_ = call_.clock.now();
        pending_ = status->value("state", "") == "pending" || status->value("state", "") == "starting";
        if (auto state = short_state(*status); state != said_) {
            said_ = state;
            call_.say({{"status", *status}});
        }
        return *ended ? std::optional{*std::move(status)} : std::nullopt;
    }

    DeskCall &call_;
    const RunPaths &paths_;
    LogTeller &teller_;
    const LogWishes &wishes_;
    std::string said_, turn_;
    Instant looked_{}, begun_, spoken_, heard_;
    bool pending_ = true;
};

// The logs shown are not whole where an agent could not write all of them.
Result<Json> with_losses(DeskCall &call, Result<Json> status, int first) {
    if (!status)
        return status;
    for (const auto &attempt : (*status)["attempts"])
        if (const auto &progress = attempt["progress"]; attempt["no"] >= first && !progress.is_null() && progress.value("dropped_lines", 0) > 0)
            call.say({{"dropped", {{"attempt", attempt["no"]}, {"lines", progress["dropped_lines"]}}}});
    return status;
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
    if (wishes.attempt > 1 && view->find(AttemptNo{wishes.attempt}) == nullptr)
        return Error{ErrorKind::not_found, fmt::format("there is no attempt {}; the run has {}", wishes.attempt, view->attempts.size()), paths->dir(),
                     "trainctl status " + paths->run.value + " shows its attempts"};
    if (wishes.attempt == 0) { // the newest that has trained, and those after it
        wishes.attempt = 1;
        for (const auto &attempt : view->attempts)
            if (attempt.owner())
                wishes.attempt = attempt.no.value;
    }
    LogTeller teller{call, *paths};
    if (!wishes.quiet)
        if (auto begun = teller.begin(wishes.attempt, wishes.all, wishes.tail); !begun)
            return begun.error();
    if (wishes.follow)
        return with_losses(call, Follower{call, *paths, teller, wishes}.run(), wishes.attempt);
    if (!wishes.quiet)
        if (auto passed = teller.pass_on(wishes.attempt, wishes.all); !passed)
            return passed.error();
    return with_losses(call, status_of(call, *paths, false), wishes.attempt);
}

} // namespace trainctl

#include "job_evidence.h"

#include "base/text.h"
#include "slurm/job_details.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <optional>

namespace trainctl {

namespace {

constexpr std::uint64_t most_bytes_of_a_log = 64u << 20; // its end: a few seconds over a usual SSH
constexpr Duration reading_limit = std::chrono::minutes{10};
constexpr Duration asking_limit = std::chrono::seconds{90};
constexpr std::string_view log_mark = "trainctl-log: ";
constexpr std::size_t most_named = 10; // tasks of an array

std::string read_line(const std::string &path) {
    const auto say = [](const std::string &what) { return "echo " + shell_quote(std::string{log_mark} + what); };
    return fmt::format("f={}; if ! test -e \"$f\"; then {}; elif ! test -f \"$f\"; then {}; elif ! test -r \"$f\"; then {}; "
                       "else {}\"$(stat -L -c %s -- \"$f\")\"; exec tail -c {} -- \"$f\"; fi",
                       shell_quote(path), say("none"), say("odd"), say("denied"), say(""), most_bytes_of_a_log);
}

// What the line above prints, behind the noise of a login shell: one word, or the size and the log.
class LogStream {
public:
    explicit LogStream(LogScan &scan) : scan_(scan) {}

    bool take(std::string_view piece) {
        if (answer_) {
            scan_.feed(piece);
            return !interrupted();
        }
        before_ += piece;
        const auto at = before_.find(log_mark);
        const auto end = at == std::string::npos ? at : before_.find('\n', at);
        if (end != std::string::npos) {
            answer_ = before_.substr(at + log_mark.size(), end - at - log_mark.size());
            scan_.feed(std::string_view{before_}.substr(end + 1));
        }
        constexpr std::size_t most_noise = 1u << 20;
        return before_.size() <= most_noise + piece.size() && !interrupted();
    }
    const std::optional<std::string> &answer() const { return answer_; }

private:
    LogScan &scan_;
    std::string before_;
    std::optional<std::string> answer_;
};

std::string why_not_read(const std::string &answer) {
    if (answer == "none")
        return "there is no such file, or you may not look into its folder";
    if (answer == "odd")
        return "it is no file of its own: nothing was kept";
    return answer == "denied" ? "you may not read it" : "";
}

class Look {
public:
    Look(ClusterLink &link, FailureLogReader &reader) : link_(link), reader_(reader) {}

    Result<JobEvidence> at(const std::string &text) {
        const auto address = parse_job_address(text);
        if (!address)
            return Error{ErrorKind::invalid, fmt::format("'{}' is no job of Slurm's", text), "--job", "as squeue shows it: 12345, 12345_7 or 12345+1"};
        const auto found = ask_for_job(*address, [this](const auto &argv) { return ask(argv); });
        if (!found)
            return found.error();
        const auto *job = job_to_look_at(*found, *address);
        if (job == nullptr)
            return Error{ErrorKind::not_found, fmt::format("Slurm knows no job {}", text), "", fmt::format("it knows {}", named(*found))};
        out_.job = json_of(*job);
        note_others(*found, *job);
        out_.slurm = {job->state, job->reason, job->failed_node.empty() ? job->nodes : job->failed_node, job->exit_code.value_or(0),
                      job->exit_signal.value_or(0), job->step_signal.value_or(0)};
        for (const auto &path : outputs_of(*found, *job))
            if (auto read = read_log(path); !read)
                return read.error();
        note_odd_state(*job);
        out_.job["notes"] = notes_;
        return std::move(out_);
    }

private:
    Result<CommandResult> ask(const std::vector<std::string> &argv) {
        std::vector<std::string> words{"env", "LC_ALL=C", "TZ=UTC", "SLURM_TIME_FORMAT=%s"};
        words.insert(words.end(), argv.begin(), argv.end());
        RemoteCommand command;
        command.line = shell_join(words);
        command.deadline = asking_limit;
        return link_.run(command);
    }

    static std::string named(const std::vector<JobDetails> &jobs) {
        std::string text;
        for (std::size_t i = 0; i < std::min(jobs.size(), most_named); ++i)
            text += (i == 0 ? "" : ", ") + to_string(jobs[i].address);
        return text + (jobs.size() > most_named ? fmt::format(" and {} more", jobs.size() - most_named) : "");
    }

    static Json json_of(const JobDetails &job) {
        const auto time = [](const std::optional<WallTime> &at) { return at ? Json(unix_seconds(*at)) : Json(); };
        const auto code = [](const std::optional<int> &value) { return value ? Json(*value) : Json(); };
        return {{"id", to_string(job.address)}, {"own_id", job.own.value}, {"name", job.name}, {"user", job.user}, {"state", job.state},
                {"reason", job.reason}, {"exit_code", code(job.exit_code)}, {"exit_signal", code(job.exit_signal)},
                {"step_exit_code", code(job.step_code)}, {"step_signal", code(job.step_signal)}, {"nodes", job.nodes},
                {"failed_node", job.failed_node}, {"submitted", time(job.submitted)}, {"started", time(job.started)},
                {"ended", time(job.phase == JobPhase::ended ? job.ended : std::nullopt)}, {"restarts", job.restarts}, {"stdout", job.out},
                {"stderr", job.err}, {"said_by", job.evidence}};
    }

    void note_others(const std::vector<JobDetails> &found, const JobDetails &job) {
        if (found.size() == 1)
            return;
        std::vector<JobDetails> bad;
        std::copy_if(found.begin(), found.end(), std::back_inserter(bad), ended_badly);
        notes_.push_back(fmt::format("Slurm knows {} {} of it; {}; this is {}", found.size(), job.address.component ? "components" : "tasks",
                                     bad.empty() ? "none ended badly" : "badly ended: " + named(bad), to_string(job.address)));
    }

    void note_odd_state(const JobDetails &job) {
        if (job.phase == JobPhase::pending)
            notes_.push_back("the job has not begun" + (job.reason.empty() ? "" : ": " + job.reason));
        else if (job.phase == JobPhase::running)
            notes_.push_back("the job has not ended: what its log says so far");
        if (job.out_guessed && !job.out.empty())
            notes_.push_back("accounting does not say where the output went; looked for it where the command line or sbatch's default say");
    }

    // The first component of a heterogeneous job runs the script, and so has the output.
    static std::vector<std::string> outputs_of(const std::vector<JobDetails> &found, const JobDetails &job) {
        std::vector<std::string> paths;
        const auto add = [&](const std::string &path) {
            if (!path.empty() && std::find(paths.begin(), paths.end(), path) == paths.end())
                paths.push_back(path);
        };
        if (job.phase == JobPhase::pending)
            return paths;
        for (const auto &one : found)
            if (&one == &job || (one.address.id == job.address.id && one.address.component == 0u))
                add(one.out), add(one.err);
        return paths;
    }

    // An error ends the look: the cluster is away. A file that can't be read is told.
    Result<void> read_log(const std::string &path) {
        auto scan = reader_.scan_of(path);
        LogStream stream(scan);
        RemoteCommand command;
        command.line = read_line(path);
        command.deadline = reading_limit;
        command.on_output = [&](std::string_view piece) { return stream.take(piece); };
        const auto result = link_.run(command);
        if (!result && (result.error().kind == ErrorKind::interrupted || result.error().kind == ErrorKind::unreachable))
            return result.error();
        const auto why_not = !result ? result.error().text() : stream.answer() ? why_not_read(*stream.answer())
                             : fmt::format("it could not be looked at: {}", trim(result->err));
        if (!why_not.empty()) {
            out_.problems.push_back(path + ": " + why_not);
            return {};
        }
        std::uint64_t size = 0;
        const auto &answer = *stream.answer();
        std::from_chars(answer.data(), answer.data() + answer.size(), size);
        if (size > most_bytes_of_a_log)
            notes_.push_back(fmt::format("of {} the last {} of {} were read; its lines are counted from there", path, human_bytes(most_bytes_of_a_log), human_bytes(size)));
        if (!result->ok())
            out_.problems.push_back(fmt::format("{}: not read to its end: {}", path, trim(result->err)));
        out_.logs.push_back(scan.finish());
        return {};
    }

    ClusterLink &link_;
    FailureLogReader &reader_;
    JobEvidence out_;
    std::vector<std::string> notes_;
};

} // namespace

Result<JobEvidence> look_at_job(ClusterLink &link, FailureLogReader &reader, const std::string &job) { return Look{link, reader}.at(job); }

} // namespace trainctl

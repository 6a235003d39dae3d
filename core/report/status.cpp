#include "report/answer.h"
#include "report/attempts.h"
#include "report/report.h"
#include "report/terminal_text.h"

#include "base/text.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace trainctl {

namespace {

// A traceback's end; all that was kept is in the logs.
constexpr std::size_t shown_lines = 16;
// Older attempts of a long run say little; --json has them.
constexpr std::size_t shown_attempts = 12;
// The head writes every heartbeat (5 s unless the user chose another): silence below this is nothing to mention.
constexpr std::int64_t quiet_s = 12;
// Long enough that something is wrong; whether the ranks live is still not known.
constexpr std::int64_t silent_s = 60;

class StatusReport {
public:
    StatusReport(const Json &status, const ReportStyle &style)
        : status_(status), style_(style), attempts_(attempts_of(status)), current_(current_attempt(attempts_)),
          now_(integer_of(status, "now")), state_(clean_text(status, "state")), run_(clean_text(status, "run")) {}

    std::string text() {
        header();
        state_lines();
        origin();
        table();
        last_words();
        problems();
        next();
        return std::move(out_);
    }

private:
    bool ended() const { return state_ == "finished" || state_ == "failed" || state_ == "stopped"; }

    Paint state_paint() const {
        if (state_ == "running" || state_ == "finished")
            return Paint::good;
        return state_ == "failed" ? Paint::bad : state_ == "stopped" ? Paint::strong : Paint::waiting;
    }

    void line(std::string_view label, std::string_view text) { out_ += labelled(label, text, style_); }

    void header() {
        const auto cluster = clean_text(status_, "cluster");
        const std::string where = cluster.empty() ? "" : " on " + cluster;
        std::string what;
        if (ended())
            what = counted(trained_attempts(), "attempt");
        else if (current_ != nullptr)
            what = fmt::format("attempt {}", current_->no);
        out_ += paint(run_, Paint::strong, style_) + "  " + paint(state_.empty() ? "unknown" : state_, state_paint(), style_) +
                cut((what.empty() ? "" : "  " + what) + where, usable_width(style_) - std::min<std::size_t>(columns(run_) + 12, 50)) + "\n";
    }

    std::int64_t trained_attempts() const {
        return std::count_if(attempts_.begin(), attempts_.end(), [](const auto &attempt) { return attempt.claimed; });
    }

    void state_lines() {
        const auto text = text_of(status_, "text");
        const Json &end = member(status_, "ended");
        if (ended()) {
            line("ended", ago_utc(integer_of(end, "when"), now_));
            const auto why = text_of(end, "why");
            if (why != state_ && state_ != "finished")
                line("why", why.empty() ? text : why);
        } else if (!text.empty() && state_ == "unknown") {
            line("not known", text);
            line("since", ago_utc(integer_of(status_, "unknown_since"), now_));
        }
        if (!ended() && is_true(status_, "stop_wished"))
            line("stopping", "a stop was asked for; the run ends when its job has");
        waiting();
        if (current_ != nullptr)
            training(*current_);
        if (!ended() && !text.empty() && state_ != "unknown")
            line("note", text);
    }

    // Of a run that waits for nodes.
    void waiting() {
        if (current_ == nullptr || text_of(current_->job_record, "phase") != "pending")
            return;
        const Json &job = current_->job_record, &problem = member(job, "problem");
        if (problem.is_object()) {
            line(is_true(problem, "never") ? "can't start" : "waits", text_of(problem, "why"));
            line("hint", text_of(problem, "hint"));
        } else {
            const auto reason = clean_text(job, "reason");
            line("waits", reason.empty() || reason == "None" ? "for nodes" : "for nodes; Slurm's reason: " + reason);
        }
        if (const auto submitted = ago_utc(integer_of(job, "submitted"), now_); !submitted.empty())
            line("queued", fmt::format("job {}, {}", current_->job.value_or(0), submitted));
    }

    void training(const AttemptFacts &attempt) {
        auto progress = progress_text(attempt.progress);
        const bool silent = attempt.heard_s && *attempt.heard_s >= silent_s;
        const auto left = seconds_left(attempt.progress);
        if (!progress.empty() && !attempt.over && !ended() && left && !silent)
            progress += fmt::format(", ~{} left", seconds_text(*left));
        line("progress", progress);
        checkpoint();
        if (attempt.over || ended() || !attempt.claimed)
            return;
        const auto ranks = integer_of(attempt.progress, "ranks");
        auto doing = attempt.state;
        if (attempt.trained_s)
            doing += fmt::format(" for {}", seconds_text(*attempt.trained_s));
        if (ranks && *ranks > 0)
            doing += ", " + counted(*ranks, "rank");
        line(silent ? "last known" : "now", doing + (attempt.nodes.empty() ? "" : " on " + attempt.nodes));
        if (const auto count = integer_of(attempt.progress, "agents_by_srun"); count && *count > 0)
            line("network", counted(*count, "agent") + " reached through srun, not by TCP");
        if (silent)
            line("silent", fmt::format("last heard {} ago; whether it still trains is not known", seconds_text(*attempt.heard_s)));
        else if (attempt.heard_s && (*attempt.heard_s >= quiet_s || state_ == "unknown"))
            line("last heard", seconds_text(*attempt.heard_s) + " ago");
    }

    void checkpoint() {
        std::optional<std::int64_t> newest;
        for (const auto &attempt : attempts_)
            newest = std::max(newest, attempt.checkpoint_step);
        if (newest)
            line("checkpoint", fmt::format("step {}", *newest));
        else if (trained_attempts() > 0)
            line("checkpoint", "none yet");
    }

    void origin() {
        line("submitted", ago_utc(integer_of(status_, "created"), now_));
        const Json &code = member(status_, "code");
        auto commit = clean_text(code, "commit").substr(0, 12);
        if (commit.empty())
            commit = clean_text(code, "hash").substr(0, 12);
        else if (is_true(code, "dirty"))
            commit += " with uncommitted edits";
        line("code", commit);
        line("folder", text_of(status_, "dir"));
    }

    static std::string steps_text(const AttemptFacts &attempt) {
        if (!attempt.claimed || (!attempt.to_step && !attempt.from_step))
            return "-";
        return fmt::format("{}-{}", attempt.from_step.value_or(0), attempt.to_step ? std::to_string(*attempt.to_step) : "");
    }

    struct Row {
        std::string no, job, steps, trained, state;
    };

    void table() {
        if (attempts_.empty())
            return;
        std::vector<Row> rows{{"attempt", "job", "steps", "trained", "what happened"}};
        const std::size_t first = attempts_.size() > shown_attempts ? attempts_.size() - shown_attempts : 0;
        for (std::size_t i = first; i < attempts_.size(); ++i) {
            const auto &attempt = attempts_[i];
            rows.push_back({std::to_string(attempt.no), attempt.job ? std::to_string(*attempt.job) : "-", steps_text(attempt),
                            attempt.trained_s && attempt.claimed ? seconds_text(*attempt.trained_s) : "-", attempt.state});
        }
        Row widths;
        for (auto field : {&Row::no, &Row::job, &Row::steps, &Row::trained}) {
            std::size_t widest = 0;
            for (const auto &row : rows)
                widest = std::max(widest, columns(row.*field));
            (widths.*field).assign(widest, ' ');
        }
        out_ += "\n";
        if (first > 0)
            out_ += fmt::format("  … {} before these: trainctl status {} --json\n", counted(static_cast<std::int64_t>(first), "attempt"), run_);
        for (const auto &row : rows) {
            std::string text = "  ";
            for (auto field : {&Row::no, &Row::job, &Row::steps, &Row::trained})
                text += pad(row.*field, (widths.*field).size()) + "  ";
            text = cut(text + row.state, usable_width(style_));
            out_ += (&row == &rows.front() ? paint(text, Paint::faint, style_) : text) + "\n";
        }
    }

    // Of the last attempt in which a rank died, where the run failed or a new attempt has still to show itself.
    void last_words() {
        if (state_ == "finished")
            return;
        const auto dead = std::find_if(attempts_.rbegin(), attempts_.rend(), [](const auto &attempt) { return attempt.claimed && attempt.over; });
        if (dead == attempts_.rend() || !dead->death || dead->death->last_lines.empty())
            return;
        out_ += "\n";
        for (const auto &part : wrap(fmt::format("In attempt {} {}. Its last lines:", dead->no, dead->death->what), usable_width(style_) - 2))
            out_ += "  " + part + "\n";
        out_ += quoted_lines(dead->death->last_lines, shown_lines, 4, style_);
    }

    void problems() {
        for (const auto &attempt : attempts_)
            if (const auto lines = integer_of(attempt.progress, "dropped_lines"); lines && *lines > 0)
                line("output", fmt::format("{} of attempt {} could not be written to its logs: was the disk full?", counted(*lines, "line"), attempt.no));
        for (const auto &problem : items_of(status_, "problems"))
            line("problem", problem.is_string() ? problem.get<std::string>() : dump_json(problem));
        for (const auto &problem : items_of(status_, "journal_problems"))
            line("journal", problem.is_string() ? problem.get<std::string>() : dump_json(problem));
    }

    void next() {
        std::vector<std::string> commands;
        const bool never = current_ != nullptr && is_true(member(current_->job_record, "problem"), "never");
        if (state_ == "running")
            commands = {"logs " + run_ + " -f", "stop " + run_};
        else if (state_ == "pending" && never)
            commands = {"cancel " + run_};
        else if (state_ == "pending" || state_ == "starting")
            commands = {"status " + run_, "cancel " + run_};
        else if (state_ == "failed" || state_ == "stopped")
            commands = {"logs " + run_, "resume " + run_};
        else if (state_ == "finished")
            commands = {"logs " + run_};
        else
            commands = {"status " + run_};
        out_ += "\n";
        std::string label = "next:";
        for (const auto &command : commands)
            out_ += paint(pad(std::exchange(label, ""), 7), Paint::faint, style_) + "trainctl " + command + "\n";
    }

    const Json &status_;
    const ReportStyle &style_;
    const std::vector<AttemptFacts> attempts_;
    const AttemptFacts *current_;
    const std::optional<std::int64_t> now_;
    const std::string state_, run_;
    std::string out_;
};

} // namespace

std::string status_text(const Json &status, const ReportStyle &style) { return StatusReport(status, style).text(); }

} // namespace trainctl

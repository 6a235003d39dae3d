#include "run/view.h"

#include "base/text.h"

#include <algorithm>
#include <functional>

namespace trainctl {

namespace {

bool has(const std::vector<std::string> &names, const std::string &name) {
    return std::binary_search(names.begin(), names.end(), name);
}

constexpr std::string_view began_prefix = "began.";

using Problems = std::vector<Error>;

// A file that can't be understood is noted, and taken for what `stand_in` says.
template <class T>
Result<std::optional<T>> read_noting(Files &files, const std::string &path, const std::optional<T> &stand_in, Problems &problems) {
    auto record = read_record_file<T>(files, path);
    if (record || record.error().kind != ErrorKind::invalid)
        return record;
    problems.push_back(record.error());
    return stand_in;
}

// slot(0), slot(1), ... as long as they are there.
template <class T, class Slot>
Result<std::vector<T>> read_slots(Files &files, const std::string &folder, Slot slot, const T &stand_in, Problems &problems) {
    std::vector<T> records;
    for (;;) {
        auto record = read_noting<T>(files, join_path(folder, slot(records.size())), stand_in, problems);
        if (!record)
            return record.error();
        if (!*record)
            return records;
        records.push_back(std::move(**record));
    }
}

Result<std::vector<Claim>> read_claims(Files &files, const RunPaths &paths, AttemptNo no, Problems &problems) {
    return read_slots<Claim>(files, paths.attempt(no), claim_slot, Claim{unreadable_owner, 0, "", "", 0}, problems);
}

template <class T> Result<void> read_into(Files &files, const std::string &path, std::optional<T> &into, Problems &problems) {
    auto record = read_noting<T>(files, path, std::nullopt, problems);
    if (!record)
        return record.error();
    into = std::move(*record);
    return {};
}

// A head that lives goes on writing, whatever it is that can't be understood here: then its bytes are the beat.
Result<void> read_progress(Files &files, const std::string &path, AttemptView &view) {
    const auto problems = view.problems.size();
    if (auto read = read_into(files, path, view.progress, view.problems); !read)
        return read;
    if (view.progress)
        view.beat = view.progress->beat;
    if (view.problems.size() == problems)
        return {};
    auto content = files.read(path);
    if (!content)
        return content.error();
    view.beat = std::hash<std::string>{}(content->value_or(""));
    return {};
}

} // namespace

std::optional<Claim> AttemptView::owner() const {
    for (auto claim = claims.rbegin(); claim != claims.rend(); ++claim)
        if (!claim->is_seal())
            return *claim;
    return std::nullopt;
}

std::int64_t AttemptView::last_known() const {
    std::int64_t last = intents.empty() ? 0 : intents.back().made;
    for (const auto &claim : claims)
        last = std::max(last, claim.made);
    if (job)
        last = std::max(last, job->submitted);
    if (progress)
        last = std::max(last, progress->written);
    return last;
}

bool is_owners_job(const AttemptView &attempt, const JobSighting &job) {
    const auto owner = attempt.owner();
    if (!owner || owner->id != job.id)
        return false;
    const bool both_known = attempt.job && attempt.job->id == owner->id && attempt.job->submitted > 0 && job.submitted;
    return !both_known || attempt.job->submitted == unix_seconds(*job.submitted);
}

const AttemptView *RunView::find(AttemptNo no) const {
    const auto index = static_cast<std::size_t>(no.value - 1);
    return no.value >= 1 && index < attempts.size() ? &attempts[index] : nullptr;
}

std::string began_file(JobId job, int restarts) { return std::string{began_prefix} + to_string(job) + "." + std::to_string(restarts); }

std::string retired_end(AttemptNo last) { return "ended." + to_string(last) + ".json"; }

std::string claim_slot(std::size_t index) { return index == 0 ? "claim" : "claim." + std::to_string(index); }

std::string intent_slot(std::size_t index) {
    return index == 0 ? "intent.json" : "intent." + std::to_string(index) + ".json";
}

Result<std::vector<Claim>> read_claims(Files &files, const RunPaths &paths, AttemptNo no) {
    Problems problems;
    auto claims = read_claims(files, paths, no, problems);
    if (claims && !problems.empty())
        return problems.front();
    return claims;
}

Result<AttemptView> look_at_attempt(Files &files, const RunPaths &paths, AttemptNo no) {
    AttemptView view{};
    view.no = no;
    const auto folder = paths.attempt(no);
    auto intents = read_slots<Intent>(files, folder, intent_slot, Intent{}, view.problems);
    auto claims = read_claims(files, paths, no, view.problems);
    if (!intents || !claims)
        return intents ? claims.error() : intents.error();
    view.intents = std::move(*intents);
    view.claims = std::move(*claims);
    if (!view.intents.empty() && !view.intents.back().token.empty()) {
        auto rejected = files.read(join_path(folder, "rejected." + view.intents.back().token));
        if (!rejected)
            return rejected.error();
        view.rejected = std::move(*rejected);
    }
    for (const auto &result : {read_into(files, join_path(folder, "job.json"), view.job, view.problems),
                        read_progress(files, join_path(folder, "progress.json"), view),
                        read_into(files, join_path(folder, "outcome.json"), view.outcome, view.problems),
                        read_into(files, join_path(folder, "verdict.json"), view.verdict, view.problems),
                        read_into(files, join_path(folder, "abandoned.json"), view.abandoned, view.problems)})
        if (!result)
            return result.error();
    if (view.claims.empty()) {
        const auto names = files.list(folder);
        if (!names)
            return names.error();
        view.head_began = std::any_of(names->begin(), names->end(), [](const auto &name) { return starts_with(name, began_prefix); });
    }
    // A job that a site requeued after its outcome trains again: what its earlier start wrote says nothing about now.
    if (const auto owner = view.owner(); owner && view.outcome && view.outcome->job.value != 0 &&
                                         (view.outcome->job != owner->id || view.outcome->restarts != owner->restarts))
        view.outcome.reset();
    return view;
}

EndWish end_wish(Files &files, const RunPaths &paths) {
    const auto path = paths.wish("stop");
    const auto text = files.read(path);
    const auto wish = parse_json(text && *text ? **text : "", path);
    return wish && wish->is_object() && wish->value("save", Json(true)) == Json(false) ? EndWish::cancel : EndWish::stop;
}

Result<RunView> look_at_run(Files &files, const RunPaths &paths) {
    RunView view;
    // This one is no attempt's: whether the run goes on is not known without it.
    auto ended = read_record_file<Ended>(files, paths.file("ended.json"));
    if (!ended)
        return ended.error();
    view.ended = std::move(*ended);
    auto wishes = files.list(paths.file("control"));
    if (!wishes)
        return wishes.error();
    if (has(*wishes, "stop"))
        view.end_wish = end_wish(files, paths);
    auto retired = files.list(paths.dir());
    auto names = files.list(paths.attempts());
    if (!retired || !names)
        return retired ? names.error() : retired.error();
    for (const auto &name : *retired)
        if (starts_with(name, "ended.") && ends_with(name, ".json") && name.size() > 11)
            if (const auto no = parse_attempt_no(std::string_view{name}.substr(6, name.size() - 11)))
                view.forgiven = std::max(view.forgiven, *no);
    int highest = 0;
    for (const auto &name : *names)
        if (const auto no = parse_attempt_no(name))
            highest = std::max(highest, no->value);
    // Attempts are made in order, so all below the highest exist, whatever a stale listing shows.
    for (int no = 1; no <= highest; ++no) {
        auto attempt = look_at_attempt(files, paths, AttemptNo{no});
        if (!attempt)
            return attempt.error();
        view.attempts.push_back(std::move(*attempt));
    }
    return view;
}

} // namespace trainctl

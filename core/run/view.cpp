#include "run/view.h"

#include "base/text.h"

#include <algorithm>

namespace trainctl {

namespace {

bool has(const std::vector<std::string> &names, const std::string &name) {
    return std::binary_search(names.begin(), names.end(), name);
}

// slot(0), slot(1), ... as long as they are there.
template <class T, class Slot>
Result<std::vector<T>> read_slots(Files &files, const std::string &folder, Slot slot) {
    std::vector<T> records;
    for (;;) {
        auto record = read_record_file<T>(files, join_path(folder, slot(records.size())));
        if (!record)
            return record.error();
        if (!*record)
            return records;
        records.push_back(std::move(**record));
    }
}

template <class T> Result<void> read_into(Files &files, const std::string &path, std::optional<T> &into) {
    auto record = read_record_file<T>(files, path);
    if (!record)
        return record.error();
    into = std::move(*record);
    return {};
}

} // namespace

std::optional<Claim> AttemptView::owner() const {
    for (auto claim = claims.rbegin(); claim != claims.rend(); ++claim)
        if (!claim->is_seal())
            return *claim;
    return std::nullopt;
}

const AttemptView *RunView::find(AttemptNo no) const {
    const auto index = static_cast<std::size_t>(no.value - 1);
    return no.value >= 1 && index < attempts.size() ? &attempts[index] : nullptr;
}

std::string retired_end(AttemptNo last) { return "ended." + to_string(last) + ".json"; }

std::string claim_slot(std::size_t index) { return index == 0 ? "claim" : "claim." + std::to_string(index); }

std::string intent_slot(std::size_t index) {
    return index == 0 ? "intent.json" : "intent." + std::to_string(index) + ".json";
}

Result<std::vector<Claim>> read_claims(Files &files, const RunPaths &paths, AttemptNo no) {
    return read_slots<Claim>(files, paths.attempt(no), claim_slot);
}

Result<AttemptView> look_at_attempt(Files &files, const RunPaths &paths, AttemptNo no) {
    AttemptView view{no, {}, {}, {}, {}, {}, {}, {}};
    const auto folder = paths.attempt(no);
    auto intents = read_slots<Intent>(files, folder, intent_slot);
    auto claims = read_claims(files, paths, no);
    if (!intents || !claims)
        return intents ? claims.error() : intents.error();
    view.intents = std::move(*intents);
    view.claims = std::move(*claims);
    if (!view.intents.empty()) {
        auto rejected = files.read(join_path(folder, "rejected." + view.intents.back().token));
        if (!rejected)
            return rejected.error();
        view.rejected = std::move(*rejected);
    }
    for (const auto &result : {read_into(files, join_path(folder, "job.json"), view.job),
                        read_into(files, join_path(folder, "progress.json"), view.progress),
                        read_into(files, join_path(folder, "outcome.json"), view.outcome),
                        read_into(files, join_path(folder, "verdict.json"), view.verdict)})
        if (!result)
            return result.error();
    // A job that a site requeued after its outcome trains again: what its earlier start wrote says nothing about now.
    if (const auto owner = view.owner(); owner && view.outcome && view.outcome->job.value != 0 &&
                                         (view.outcome->job != owner->id || view.outcome->restarts != owner->restarts))
        view.outcome.reset();
    return view;
}

Result<RunView> look_at_run(Files &files, const RunPaths &paths) {
    RunView view;
    if (auto ended = read_into(files, paths.file("ended.json"), view.ended); !ended)
        return ended.error();
    auto wishes = files.list(paths.file("control"));
    if (!wishes)
        return wishes.error();
    view.stop_wished = has(*wishes, "stop");
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

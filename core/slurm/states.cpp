#include "slurm/states.h"

#include "base/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

namespace trainctl {

namespace {

using enum StateMeaning;

// Bases, then flags. From Slurm's slurm_protocol_defs.c over its versions; no base was added since 17.02.
constexpr std::array<StateWord, 31> table{{
    {"PENDING", "PD", false, queued},
    {"RUNNING", "R", false, active},
    {"SUSPENDED", "S", false, active},
    {"COMPLETED", "CD", false, over},
    {"CANCELLED", "CA", false, over},
    {"FAILED", "F", false, over},
    {"TIMEOUT", "TO", false, over},
    {"NODE_FAIL", "NF", false, over},
    {"PREEMPTED", "PR", false, over},
    {"BOOT_FAIL", "BF", false, over},
    {"DEADLINE", "DL", false, over},
    {"OUT_OF_MEMORY", "OOM", false, over},
    // The base behind it is terminal or PENDING (requeue): either way its nodes are not free of it yet.
    {"COMPLETING", "CG", true, active},
    {"CONFIGURING", "CF", true, active},
    {"RESIZING", "RS", true, active},
    {"STOPPED", "ST", true, active},
    {"SIGNALING", "SI", true, active},
    {"STAGE_OUT", "SO", true, active},
    {"REQUEUED", "RQ", true, queued},
    {"REQUEUE_HOLD", "RH", true, queued},
    {"REQUEUE_FED", "RF", true, queued},
    {"SPECIAL_EXIT", "SE", true, queued},
    {"RESV_DEL_HOLD", "RD", true, queued},
    {"REQUEUED_CRON", "RC", true, queued},
    {"EXPEDITING", "", true, queued},
    // Over on this cluster, because a sibling of the same id started on another one.
    {"REVOKED", "RV", true, elsewhere},
    {"LAUNCH_FAILED", "", true, remark},
    {"POWER_UP_NODE", "", true, remark},
    {"RECONFIG_FAIL", "", true, remark},
    {"UPDATE_DB", "", true, remark},
    {"GETENV_FAILED", "", true, remark},
}};

std::string capitals(std::string_view text) {
    std::string out{text};
    for (char &c : out)
        if (c >= 'a' && c <= 'z')
            c = static_cast<char>(c - 'a' + 'A');
    return out;
}

const StateWord *find_word(std::string_view word) {
    const auto at = std::find_if(table.begin(), table.end(), [&](const StateWord &entry) {
        return entry.name == word || (!entry.compact.empty() && entry.compact == word);
    });
    return at == table.end() ? nullptr : &*at;
}

// "OUT_OF_ME" of "OUT_OF_ME+": the only word that begins so. A whole word before the "+" is no cut: something
// that we can't see follows it, and only "CANCELLED" is known to be followed by a harmless "by <uid>".
const StateWord *find_cut(std::string_view start) {
    if (const StateWord *whole = find_word(start))
        return whole->name == "CANCELLED" ? whole : nullptr;
    const StateWord *found = nullptr;
    for (const auto &entry : table) {
        if (!starts_with(entry.name, start))
            continue;
        if (found != nullptr)
            return nullptr;
        found = &entry;
    }
    return start.size() < 4 ? nullptr : found;
}

// Cuts " by <uid>" off.
std::optional<std::uint32_t> take_uid(std::string_view &word) {
    const auto at = word.find(" by ");
    if (at == std::string_view::npos)
        return std::nullopt;
    const auto digits = trim(word.substr(at + 4));
    word = trim(word.substr(0, at));
    std::uint32_t uid = 0;
    const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), uid);
    return ec == std::errc{} && end == digits.data() + digits.size() ? std::optional{uid} : std::nullopt;
}

struct Seen {
    bool any_unknown = false, queued = false, active = false, over = false;

    void add(StateMeaning meaning) {
        switch (meaning) {
        case StateMeaning::queued: queued = true; return;
        case StateMeaning::active: active = true; return;
        case StateMeaning::over: over = true; return;
        case StateMeaning::elsewhere: any_unknown = true; return;
        case StateMeaning::remark: return;
        }
    }
    JobPhase phase() const {
        if (any_unknown)
            return JobPhase::unknown;
        if (active)
            return JobPhase::running;
        if (queued)
            return JobPhase::pending;
        return over ? JobPhase::ended : JobPhase::unknown;
    }
};

} // namespace

std::span<const StateWord> state_words() { return table; }

JobState read_state(std::string_view words) {
    JobState state;
    words = trim(words);
    const bool cut = ends_with(words, "+");
    if (cut)
        words.remove_suffix(1);

    std::vector<std::string> parts;
    for (const auto &by_comma : split(words, ','))
        for (auto &part : split(by_comma, '+'))
            parts.push_back(std::move(part));

    Seen seen;
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        std::string_view part = trim(parts[i]);
        if (const auto uid = take_uid(part))
            state.cancelled_by = uid;
        const bool cut_here = cut && i + 1 == parts.size();
        const StateWord *known = cut_here ? find_cut(capitals(part)) : find_word(capitals(part));
        if (known != nullptr)
            seen.add(known->meaning);
        else
            seen.any_unknown = true;
        if (known != nullptr)
            texts.emplace_back(known->name);
        else if (!part.empty())
            texts.emplace_back(std::string{part} + (cut_here ? "+" : ""));
    }
    state.text = join(texts, ",");
    state.phase = seen.phase();
    return state;
}

JobPhase phase_of(std::string_view words) { return read_state(words).phase; }

} // namespace trainctl

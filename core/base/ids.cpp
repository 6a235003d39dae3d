#include "base/ids.h"

#include <charconv>
#include <fmt/format.h>

namespace trainctl {

std::string to_string(JobId id) { return std::to_string(id.value); }

std::optional<JobId> parse_job_id(std::string_view text) {
    JobId id;
    const auto digits = text.substr(0, text.find(';'));
    const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), id.value);
    if (ec != std::errc{} || end != digits.data() + digits.size() || id.value == 0)
        return std::nullopt;
    return id;
}

bool valid_run_id(std::string_view text) {
    constexpr std::size_t longest = 48; // room for "tc-...-NNN" in squeue's and sacct's name columns
    if (text.empty() || text.size() > longest || text.front() == '-')
        return false;
    for (const char c : text)
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    return true;
}

std::string to_string(AttemptNo no) { return fmt::format("{:03}", no.value); }

std::optional<AttemptNo> parse_attempt_no(std::string_view text) {
    AttemptNo no;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), no.value);
    if (ec != std::errc{} || end != text.data() + text.size() || no.value < 1 || to_string(no) != text)
        return std::nullopt;
    return no;
}

std::string job_name(const RunId &run, AttemptNo no) { return "tc-" + run.value + "-" + to_string(no); }

} // namespace trainctl

#include "report/answer.h"

#include "base/clock.h"
#include "base/text.h"
#include "report/terminal_text.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace trainctl {

namespace {

// Beyond it a clock or a rate is broken, and a number says less than silence: a hundred years.
constexpr std::int64_t longest_s = 100ll * 366 * 86400;

} // namespace

const Json &member(const Json &object, const char *key) {
    static const Json nothing;
    if (!object.is_object())
        return nothing;
    const auto at = object.find(key);
    return at == object.end() ? nothing : *at;
}

std::string text_of(const Json &object, const char *key) {
    const auto &value = member(object, key);
    return value.is_string() ? value.get<std::string>() : "";
}

std::string clean_text(const Json &object, const char *key) { return clean(join(split_lines(text_of(object, key)), "; ")); }

std::optional<std::int64_t> integer_of(const Json &object, const char *key) {
    const auto &value = member(object, key);
    constexpr std::int64_t limit = 1ll << 53; // what any JSON reader keeps; sums of such numbers can't overflow
    if (!value.is_number_integer() || (value.is_number_unsigned() && value.get<std::uint64_t>() > limit))
        return std::nullopt;
    const auto number = value.get<std::int64_t>();
    return number >= -limit && number <= limit ? std::optional{number} : std::nullopt;
}

std::optional<double> number_of(const Json &object, const char *key) {
    const auto &value = member(object, key);
    if (value.is_number() && std::isfinite(value.get<double>()))
        return value.get<double>();
    return std::nullopt;
}

bool is_true(const Json &object, const char *key) {
    const auto &value = member(object, key);
    return value.is_boolean() && value.get<bool>();
}

std::vector<Json> items_of(const Json &object, const char *key) {
    const auto &value = member(object, key);
    return value.is_array() ? std::vector<Json>(value.begin(), value.end()) : std::vector<Json>{};
}

std::string seconds_text(std::int64_t seconds) {
    seconds = std::clamp(seconds, std::int64_t{0}, longest_s);
    return seconds == 0 ? "0 s" : human_duration(std::chrono::seconds{seconds});
}

std::string ago(std::optional<std::int64_t> when, std::optional<std::int64_t> now) {
    if (!when || !now || *when <= 0 || *now - *when > longest_s)
        return "";
    return *now - *when < 1 ? "just now" : seconds_text(*now - *when) + " ago"; // clocks differ a little
}

std::string ago_utc(std::optional<std::int64_t> when, std::optional<std::int64_t> now) {
    const auto text = ago(when, now);
    return text.empty() ? "" : fmt::format("{} ({})", text, utc_text(from_unix_seconds(*when)));
}

std::string progress_text(const Json &progress) {
    const auto step = integer_of(progress, "step"), total = integer_of(progress, "total_steps");
    std::vector<std::string> parts;
    if (step && total && *total > 0)
        parts.push_back(fmt::format("step {} of {} ({:.0f} %)", *step, *total,
                                    std::floor(100.0 * static_cast<double>(*step) / static_cast<double>(*total))));
    else if (step)
        parts.push_back(fmt::format("step {}", *step));
    if (const auto loss = number_of(progress, "loss"))
        parts.push_back(fmt::format("loss {:.4g}", *loss));
    if (const auto rate = number_of(progress, "rate"))
        parts.push_back(fmt::format("{:.3g} steps/s", *rate));
    return join(parts, ", ");
}

std::optional<std::int64_t> seconds_left(const Json &progress) {
    const auto step = integer_of(progress, "step"), total = integer_of(progress, "total_steps");
    const auto rate = number_of(progress, "rate");
    if (!step || !total || !rate || *rate <= 0 || *total <= *step)
        return std::nullopt;
    const double left = (static_cast<double>(*total) - static_cast<double>(*step)) / *rate;
    if (left > static_cast<double>(longest_s))
        return std::nullopt;
    return std::llround(left);
}

} // namespace trainctl

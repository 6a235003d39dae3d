#include "checkpoint/checkpoint.h"

#include "base/text.h"

#include <algorithm>
#include <charconv>

namespace trainctl {

namespace {

constexpr std::string_view placeholder = "{step}";
constexpr std::size_t max_digits = 18; // fits 64 bits with a sign

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::optional<std::int64_t> number(std::string_view text) {
    std::int64_t value = 0;
    if (text.empty() || text.size() > max_digits || !std::all_of(text.begin(), text.end(), is_digit))
        return std::nullopt;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

// Whole text against a pattern where * is any text.
bool fits(std::string_view pattern, std::string_view text) {
    std::size_t p = 0, t = 0, star = std::string_view::npos, retry = 0;
    while (t < text.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            retry = t;
        } else if (p < pattern.size() && pattern[p] == text[t]) {
            ++p;
            ++t;
        } else if (star != std::string_view::npos) {
            p = star + 1;
            t = ++retry;
        } else {
            return false;
        }
    }
    return std::all_of(pattern.begin() + static_cast<std::ptrdiff_t>(p), pattern.end(), [](char c) { return c == '*'; });
}

// With a * the step is a whole number in the name: "*{step}" of "a12" is 12, never 2.
std::optional<std::int64_t> step_between(std::string_view before, std::string_view after, std::string_view name) {
    std::optional<std::int64_t> step;
    for (std::size_t i = 0; i < name.size(); ++i) {
        if (!is_digit(name[i]))
            continue;
        std::size_t end = i;
        while (end < name.size() && is_digit(name[end]))
            ++end;
        if (fits(before, name.substr(0, i)) && fits(after, name.substr(end))) {
            if (step)
                return std::nullopt;
            step = number(name.substr(i, end - i));
        }
        i = end;
    }
    return step;
}

} // namespace

std::optional<std::int64_t> step_of_name(std::string_view pattern, std::string_view name) {
    const auto at = pattern.find(placeholder);
    if (at == std::string_view::npos)
        return std::nullopt;
    const auto before = pattern.substr(0, at), after = pattern.substr(at + placeholder.size());
    if (pattern.find('*') != std::string_view::npos)
        return step_between(before, after, name);
    if (name.size() <= before.size() + after.size() || !starts_with(name, before) || !ends_with(name, after))
        return std::nullopt;
    return number(name.substr(before.size(), name.size() - before.size() - after.size()));
}

bool is_put_aside(std::string_view name) {
    const auto aside = name.rfind(set_aside);
    return aside != std::string_view::npos && aside > 0 && name.find_first_not_of(".0123456789", aside + set_aside.size()) == std::string_view::npos;
}

std::vector<NamedStep> steps_of_names(const std::string &pattern, const std::vector<std::string> &names) {
    return steps_of_names(std::vector{pattern}, names);
}

std::vector<NamedStep> steps_of_names(const std::vector<std::string> &patterns, const std::vector<std::string> &names) {
    std::vector<NamedStep> steps;
    for (const auto &name : names)
        for (const auto &pattern : patterns)
            if (const auto step = step_of_name(pattern, name)) {
                steps.push_back({*step, name});
                break;
            }
    std::sort(steps.begin(), steps.end());
    return steps;
}

std::vector<std::string> checkpoints_to_remove(const std::vector<CheckpointSeen> &seen, int keep,
                                               const std::vector<std::string> &in_use) {
    if (keep <= 0)
        return {};
    std::vector<const CheckpointSeen *> order;
    for (const auto &one : seen)
        order.push_back(&one);
    std::stable_sort(order.begin(), order.end(), [](const auto *a, const auto *b) { return a->step > b->step; });
    std::vector<std::string> remove;
    int kept = 0;
    std::int64_t oldest_kept = 0;
    for (const auto *one : order) {
        if (!one->removable)
            continue;
        if (one->complete && kept < keep) {
            ++kept;
            oldest_kept = one->step;
        } else if (kept == keep && one->step < oldest_kept &&
                   std::find(in_use.begin(), in_use.end(), one->path) == in_use.end()) {
            remove.push_back(one->path);
        }
    }
    return remove;
}

} // namespace trainctl

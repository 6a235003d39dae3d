#include "slurm/hostlist.h"

#include "base/text.h"

#include <charconv>
#include <cstdint>
#include <fmt/format.h>
#include <optional>

namespace trainctl {

namespace {

constexpr std::size_t most_digits = 18;  // fits into 64 bits
constexpr std::size_t most_brackets = 8; // Slurm itself stops at a few dimensions

struct Range {
    std::uint64_t low = 0, high = 0;
    std::size_t width = 0; // digits, with leading zeros
};

struct Pattern {
    std::vector<std::string> literals; // one more than there are brackets: around and between them
    std::vector<std::vector<Range>> brackets;
};

Error bad(std::string_view list, const std::string &why) {
    return {ErrorKind::invalid, fmt::format("invalid host list \"{}\": {}", valid_utf8(list.substr(0, 200)), why), "", ""};
}

std::optional<std::uint64_t> number(std::string_view digits) {
    std::uint64_t value = 0;
    if (digits.empty() || digits.size() > most_digits)
        return std::nullopt;
    const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return ec == std::errc{} && end == digits.data() + digits.size() ? std::optional{value} : std::nullopt;
}

std::optional<std::vector<Range>> parse_ranges(std::string_view text) {
    std::vector<Range> ranges;
    for (const auto &part : split(text, ',')) {
        const auto dash = part.find('-');
        const std::string_view whole{part};
        const auto low = number(whole.substr(0, dash));
        const auto high = dash == std::string::npos ? low : number(whole.substr(dash + 1));
        if (!low || !high || *high < *low || *high - *low >= most_hosts)
            return std::nullopt;
        ranges.push_back({*low, *high, dash == std::string::npos ? part.size() : dash});
    }
    return ranges;
}

Result<Pattern> parse_pattern(std::string_view text) {
    Pattern pattern;
    while (true) {
        const auto open = text.find('[');
        if (text.substr(0, open).find(']') != std::string_view::npos)
            return bad(text, "\"]\" without \"[\"");
        pattern.literals.emplace_back(text.substr(0, open));
        if (open == std::string_view::npos)
            return pattern;
        const auto close = text.find(']', open);
        if (close == std::string_view::npos)
            return bad(text, "\"[\" without \"]\"");
        const auto ranges = parse_ranges(text.substr(open + 1, close - open - 1));
        if (!ranges || pattern.brackets.size() == most_brackets)
            return bad(text, "not ranges of numbers: " + std::string{text.substr(open, close - open + 1)});
        pattern.brackets.push_back(*ranges);
        text.remove_prefix(close + 1);
    }
}

std::vector<std::string> values_of(const std::vector<Range> &ranges) {
    std::vector<std::string> values;
    for (const auto &range : ranges)
        for (std::uint64_t value = range.low; value <= range.high && values.size() <= most_hosts; ++value)
            values.push_back(fmt::format("{:0{}}", value, range.width));
    return values;
}

// Slurm takes the last bracket as the fastest and unfolds the others from right to left, so the order of
// loops, outermost first, is n-1, n-2, ..., 1, n.
bool add_hosts(const Pattern &pattern, std::vector<std::string> &hosts) {
    const std::size_t n = pattern.brackets.size();
    std::vector<std::vector<std::string>> values;
    std::size_t count = 1;
    for (const auto &bracket : pattern.brackets) {
        values.push_back(values_of(bracket));
        count *= values.back().size();
        if (count > most_hosts)
            return false;
    }
    if (hosts.size() + count > most_hosts)
        return false;
    for (std::size_t i = 0; i < count; ++i) {
        std::vector<std::size_t> index(n);
        std::size_t rest = i;
        for (std::size_t step = 0; step < n; ++step) {
            const std::size_t bracket = step == 0 ? n - 1 : step - 1;
            index[bracket] = rest % values[bracket].size();
            rest /= values[bracket].size();
        }
        std::string host = pattern.literals[0];
        for (std::size_t b = 0; b < n; ++b)
            host += values[b][index[b]] + pattern.literals[b + 1];
        hosts.push_back(std::move(host));
    }
    return true;
}

// Commas and blanks outside of brackets separate.
std::vector<std::string_view> split_hosts(std::string_view text) {
    std::vector<std::string_view> parts;
    std::size_t from = 0;
    bool inside = false;
    for (std::size_t at = 0; at <= text.size(); ++at) {
        const char c = at < text.size() ? text[at] : ',';
        if (at < text.size() && (c == '[' || c == ']'))
            inside = c == '[';
        if (at == text.size() || (!inside && (c == ',' || c == ' ' || c == '\t' || c == '\n'))) {
            if (at > from)
                parts.push_back(text.substr(from, at - from));
            from = at + 1;
        }
    }
    return parts;
}

struct Group {
    std::string prefix;
    bool numbered = false;
    std::vector<Range> ranges;
};

std::string print(const Group &group) {
    if (!group.numbered)
        return group.prefix;
    std::vector<std::string> parts;
    for (const auto &range : group.ranges) {
        parts.push_back(fmt::format("{:0{}}", range.low, range.width));
        if (range.high > range.low)
            parts.back() += fmt::format("-{:0{}}", range.high, range.width);
    }
    const bool single = group.ranges.size() == 1 && group.ranges[0].low == group.ranges[0].high;
    return group.prefix + (single ? parts[0] : "[" + join(parts, ",") + "]");
}

} // namespace

Result<std::vector<std::string>> expand_hostlist(std::string_view text) {
    std::vector<std::string> hosts;
    text = trim(text);
    if (text == "(null)" || text == "None assigned" || text == "None" || text == "n/a" || text == "N/A")
        return hosts;
    for (const auto part : split_hosts(text)) {
        const auto pattern = parse_pattern(part);
        if (!pattern)
            return pattern.error();
        if (!add_hosts(*pattern, hosts))
            return bad(text, fmt::format("more than {} hosts", most_hosts));
    }
    return hosts;
}

std::string compress_hostlist(const std::vector<std::string> &hosts) {
    std::vector<Group> groups;
    for (const auto &host : hosts) {
        std::size_t at = host.size();
        while (at > 0 && host[at - 1] >= '0' && host[at - 1] <= '9' && host.size() - at < most_digits)
            --at;
        const auto value = number(std::string_view{host}.substr(at));
        if (!value) {
            groups.push_back({host, false, {}});
            continue;
        }
        const Range here{*value, *value, host.size() - at};
        const std::string prefix = host.substr(0, at);
        if (groups.empty() || !groups.back().numbered || groups.back().prefix != prefix) {
            groups.push_back({prefix, true, {here}});
            continue;
        }
        Range &last = groups.back().ranges.back();
        const bool follows = here.low == last.high + 1 &&
                             fmt::format("{:0{}}", here.low, last.width) == std::string_view{host}.substr(at);
        if (follows)
            last.high = here.low;
        else
            groups.back().ranges.push_back(here);
    }
    std::vector<std::string> parts;
    parts.reserve(groups.size());
    for (const auto &group : groups)
        parts.push_back(print(group));
    return join(parts, ",");
}

} // namespace trainctl

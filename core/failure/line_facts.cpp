#include "failure/line_facts.h"

#include "failure/pattern.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>

namespace trainctl {

namespace {

constexpr std::size_t time_within = 256;
constexpr std::string_view time_shape = "dddd-dd-dd?dd:dd:dd";

bool has_shape(std::string_view text) {
    if (text.size() < time_shape.size())
        return false;
    for (std::size_t i = 0; i < time_shape.size(); ++i) {
        const char wanted = time_shape[i], is = text[i];
        const bool fits = wanted == 'd' ? is >= '0' && is <= '9' : wanted == '?' ? is == ' ' || is == 'T' : is == wanted;
        if (!fits)
            return false;
    }
    return true;
}

int number(std::string_view digits) {
    int value = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return value;
}

std::string group(std::string_view line, const RE2 &pattern) {
    re2::StringPiece found;
    return RE2::PartialMatch({line.data(), line.size()}, pattern, &found) ? std::string(found) : std::string{};
}

bool eat(std::string_view &text, std::string_view word) {
    const bool there = text.substr(0, word.size()) == word;
    text.remove_prefix(there ? word.size() : 0);
    return there;
}

std::optional<int> eat_number(std::string_view &text) {
    constexpr std::size_t most_digits = 6; // of a rank
    std::size_t digits = 0;
    while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9')
        ++digits;
    if (digits == 0 || digits > most_digits)
        return std::nullopt;
    const int value = number(text.substr(0, digits));
    text.remove_prefix(digits);
    return value;
}

struct LauncherPrefix {
    std::size_t size = 0;    // 0: there is none
    std::optional<int> rank; // among all
};

bool eat_prefix(std::string_view &text, std::optional<int> &rank) {
    if (has_shape(text)) { // of a node's log of a generation
        text.remove_prefix(time_shape.size());
        return eat(text, "Z [r") && (rank = eat_number(text)) && eat(text, "] ");
    }
    if (eat(text, "[default")) // the rank among those of its node
        return eat_number(text) && eat(text, "]:");
    if (eat(text, "[1,"))
        return (rank = eat_number(text)) && (eat(text, "]<stdout>:") || eat(text, "]<stderr>:"));
    constexpr std::size_t widest = 5; // srun pads to the width of the largest number
    const auto blanks = std::min(text.find_first_not_of(' '), text.size());
    text.remove_prefix(std::min(blanks, widest));
    return eat_number(text) && eat(text, ": "); // of a task, which may be a launcher of many ranks
}

LauncherPrefix prefix_of(std::string_view line) {
    constexpr int most_launchers = 3; // torchrun's ranks below trainctl's
    LauncherPrefix found;
    for (int i = 0; i < most_launchers; ++i) {
        auto rest = line.substr(found.size);
        if (rest.empty() || (rest[0] != '[' && rest[0] != ' ' && (rest[0] < '0' || rest[0] > '9')))
            break;
        std::optional<int> rank;
        if (!eat_prefix(rest, rank))
            break;
        found.size = line.size() - rest.size();
        found.rank = rank ? rank : found.rank;
    }
    return found;
}

} // namespace

std::size_t launcher_prefix(std::string_view line) { return prefix_of(line).size; }

std::optional<std::int64_t> time_of_line(std::string_view line) {
    line = line.substr(0, time_within);
    for (std::size_t dash = line.find('-'); dash != std::string_view::npos; dash = line.find('-', dash + 1)) {
        if (dash < 4 || dash - 4 + time_shape.size() > line.size())
            continue;
        const auto text = line.substr(dash - 4, time_shape.size());
        if (!has_shape(text))
            continue;
        using namespace std::chrono;
        const year_month_day date{year{number(text.substr(0, 4))}, month{static_cast<unsigned>(number(text.substr(5, 2)))},
                                  day{static_cast<unsigned>(number(text.substr(8, 2)))}};
        if (!date.ok())
            continue;
        const auto at = sys_days{date} + hours{number(text.substr(11, 2))} + minutes{number(text.substr(14, 2))} +
                        seconds{number(text.substr(17, 2))};
        return at.time_since_epoch().count();
    }
    return std::nullopt;
}

std::optional<int> rank_of_line(std::string_view line) {
    static const RE2 pattern(R"((?:\[[Rr]ank ?|\bRank |\bglobal[_ ]rank[ :=]+)(\d{1,6})\b)", pattern_options());
    const auto prefix = prefix_of(line);
    const auto text = group(line.substr(prefix.size, 1024), pattern);
    return text.empty() ? prefix.rank : std::optional<int>{number(text)};
}

std::string host_of_line(std::string_view line) {
    static const RE2 pattern(R"(^([A-Za-z][A-Za-z0-9.-]{0,62}):\d+:\d+ \[\d+\] )", pattern_options());
    return group(line.substr(launcher_prefix(line), 256), pattern);
}

void strip_escapes(std::string &text) {
    std::size_t to = 0;
    for (std::size_t from = 0; from < text.size();) {
        if (text[from] != '\x1b') {
            text[to++] = text[from++];
            continue;
        }
        const char kind = from + 1 < text.size() ? text[from + 1] : '\0';
        std::size_t end = from + 1;
        if (kind == '[') { // CSI: up to a byte from @ to ~
            end = from + 2;
            while (end < text.size() && text[end] >= 0x20 && text[end] < 0x40)
                ++end;
            end += end < text.size() && text[end] >= 0x40 ? 1 : 0;
        } else if (kind == ']') { // OSC: up to BEL or the end of the line
            end = text.find_first_of("\a\r\n", from);
            end = end == std::string::npos ? text.size() : text[end] == '\a' ? end + 1 : end;
        } else if (kind >= 0x20) {
            end = from + 2;
        }
        from = end;
    }
    text.resize(to);
}

} // namespace trainctl

#include "experiment/values.h"

#include "base/text.h"

#include <array>
#include <charconv>
#include <fmt/format.h>
#include <optional>

namespace trainctl {

namespace {

Error wrong(std::string message) { return {ErrorKind::invalid, std::move(message), "", ""}; }

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

// Takes digits from the front: at most twelve, so that no sum of weeks and days overflows.
std::optional<std::int64_t> take_number(std::string_view &text) {
    std::size_t digits = 0;
    std::int64_t value = 0;
    while (digits < text.size() && is_digit(text[digits])) {
        value = value * 10 + (text[digits] - '0');
        if (++digits > 12)
            return std::nullopt;
    }
    if (digits == 0)
        return std::nullopt;
    text.remove_prefix(digits);
    return value;
}

struct Unit {
    const char *name;
    std::int64_t factor;
};
constexpr std::array<Unit, 5> time_units{{{"w", 604800}, {"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}}};

std::optional<std::int64_t> with_units(std::string_view text) {
    std::int64_t total = 0;
    std::size_t next_unit = 0; // units come in falling order, each once
    while (!text.empty()) {
        const auto number = take_number(text);
        if (!number || text.empty())
            return std::nullopt;
        std::size_t unit = next_unit;
        while (unit < time_units.size() && time_units[unit].name[0] != text[0])
            ++unit;
        if (unit == time_units.size())
            return std::nullopt;
        total += *number * time_units[unit].factor;
        next_unit = unit + 1;
        text.remove_prefix(1);
    }
    return total;
}

// "D-HH[:MM[:SS]]" and "HH:MM:SS".
std::optional<std::int64_t> slurm_time(std::string_view text) {
    std::int64_t total = 0;
    std::size_t parts_wanted = 3;
    if (const auto dash = text.find('-'); dash != std::string_view::npos) {
        const auto days = take_number(text);
        if (!days || text.empty() || text[0] != '-')
            return std::nullopt;
        text.remove_prefix(1);
        total = *days * 86400;
        parts_wanted = 1;
    }
    constexpr std::array<std::int64_t, 3> factors{3600, 60, 1};
    const auto parts = split(text, ':');
    if (parts.size() < parts_wanted || parts.size() > factors.size())
        return std::nullopt;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        std::string_view part = parts[i];
        const auto number = take_number(part);
        if (!number || !part.empty() || (i > 0 && *number > 59))
            return std::nullopt;
        total += *number * factors[i];
    }
    return total;
}

bool all_digits(std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

} // namespace

Result<std::int64_t> parse_integer(std::string_view text) {
    const std::string_view digits = !text.empty() && text[0] == '-' ? text.substr(1) : text;
    if (!all_digits(digits))
        return wrong(fmt::format("must be a whole number, not '{}'", text));
    if (digits.size() > 1 && digits[0] == '0')
        return wrong(fmt::format("is '{}', which some YAML readers take for a number of base 8: write it without the "
                                 "leading 0",
                                 text));
    std::int64_t value = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
    if (parsed.ec != std::errc{})
        return wrong(fmt::format("must be a whole number, and '{}' is too big", text));
    return value;
}

Result<std::chrono::seconds> parse_duration(std::string_view text) {
    if (all_digits(text))
        return wrong(fmt::format("is '{0}' without a unit: write {0}s, {0}m, {0}h or {0}d", text));
    const auto colon = text.find(':');
    if (colon != std::string_view::npos && text.find('-') == std::string_view::npos &&
        text.find(':', colon + 1) == std::string_view::npos)
        return wrong(fmt::format("is '{}', which may be minutes or hours: write it like 1h30m or 01:30:00", text));
    const auto seconds = text.find_first_of(":-") != std::string_view::npos ? slurm_time(text) : with_units(text);
    if (!seconds || text.empty())
        return wrong(fmt::format("must be a duration such as 90s, 15m, 24h, 1h30m or 1-12:00:00, not '{}'", text));
    return std::chrono::seconds{*seconds};
}

std::string duration_text(std::chrono::seconds duration) {
    std::int64_t left = duration.count();
    std::string out;
    for (const auto &unit : time_units) {
        if (unit.name[0] == 'w' || left < unit.factor)
            continue;
        out += fmt::format("{}{}", left / unit.factor, unit.name);
        left %= unit.factor;
    }
    return out.empty() ? "0s" : out;
}

Result<std::uint64_t> parse_size_mib(std::string_view text) {
    if (all_digits(text))
        return wrong(fmt::format("is '{0}' without a unit: write {0}M, {0}G or {0}T", text));
    std::string_view unit = text;
    const auto number = take_number(unit);
    const std::string_view kinds = "KMGT";
    const auto power = unit.empty() ? std::string_view::npos : kinds.find(unit[0]);
    const std::string_view tail = unit.empty() ? unit : unit.substr(1);
    if (!number || power == std::string_view::npos || !(tail.empty() || tail == "B" || tail == "iB"))
        return wrong(fmt::format("must be a size such as 64G, 512M, 1T or 64GiB, not '{}'", text));
    const std::uint64_t base = tail == "B" ? 1000 : 1024;
    constexpr std::uint64_t mib = 1024u * 1024u;
    constexpr std::uint64_t most_tib = 1u << 20; // an exbibyte; keeps the products below 2^64
    std::uint64_t factor = base;
    for (std::size_t i = 0; i < power; ++i)
        factor *= base;
    const auto count = static_cast<std::uint64_t>(*number);
    if (count > (most_tib << 40) / factor)
        return wrong(fmt::format("is '{}': no machine has that much", text));
    return (count * factor + mib - 1) / mib;
}

std::string size_text(std::uint64_t mib) {
    constexpr std::uint64_t step = 1024;
    if (mib > 0 && mib % (step * step) == 0)
        return fmt::format("{}T", mib / (step * step));
    return mib > 0 && mib % step == 0 ? fmt::format("{}G", mib / step) : fmt::format("{}M", mib);
}

namespace {

// One pass over a command line; `error` ends it.
class Splitter {
public:
    explicit Splitter(std::string_view text) : text_(text) {}

    Result<std::vector<std::string>> run() {
        while (at_ < text_.size() && error_.empty())
            step();
        end_word();
        if (!error_.empty())
            return wrong(error_);
        return std::move(words_);
    }

private:
    void step() {
        const char c = text_[at_++];
        if (c == ' ' || c == '\t') {
            end_word();
        } else if (c == '\n') {
            error_ = "has several lines, and no shell runs it: use one line, end lines with \\, or write "
                     "bash -c '...'";
        } else if (c == '\'') {
            single_quoted();
        } else if (c == '"') {
            double_quoted();
        } else if (c == '\\') {
            backslash();
        } else {
            unquoted(c);
        }
    }

    void unquoted(char c) {
        const char next = at_ < text_.size() ? text_[at_] : '\0';
        const std::string_view operators = "|&;<>()`";
        if (operators.find(c) != std::string_view::npos || (c == '$' && next == '(')) {
            refuse_operator(c);
            return;
        }
        if (c == '$' && is_name_start(next)) {
            std::size_t end = at_;
            while (end < text_.size() && (is_name_start(text_[end]) || is_digit(text_[end])))
                ++end;
            const auto name = text_.substr(at_, end - at_);
            error_ = fmt::format("has ${0}, and no shell runs it: write ${{{0}}} for the value that you have when you "
                                 "submit, or bash -c '...' for the one that the ranks have",
                                 name);
            return;
        }
        if (c == '=' && words_.empty() && in_word_ && is_name_start(word_[0]) && !word_was_quoted_) {
            error_ = fmt::format("begins with '{}=': put variables under environment.env", word_);
            return;
        }
        put(c);
    }

    void refuse_operator(char c) {
        std::string seen{c};
        if (c == '$')
            seen = "$(";
        else if ((c == '&' || c == '|' || c == '>') && at_ < text_.size() && text_[at_] == c)
            seen += c;
        error_ = fmt::format("has '{}', and no shell runs it: put it in quotes, or write bash -c '...'", seen);
    }

    void single_quoted() {
        const auto end = text_.find('\'', at_);
        if (end == std::string_view::npos) {
            error_ = "has a ' that is not closed";
            return;
        }
        in_word_ = word_was_quoted_ = true;
        word_ += text_.substr(at_, end - at_);
        at_ = end + 1;
    }

    void double_quoted() {
        in_word_ = word_was_quoted_ = true;
        while (at_ < text_.size()) {
            const char c = text_[at_++];
            if (c == '"')
                return;
            const char next = at_ < text_.size() ? text_[at_] : '\0';
            if (c == '\\' && next == '\n') {
                ++at_;
            } else if (c == '\\' && (next == '"' || next == '\\' || next == '$' || next == '`')) {
                word_ += next;
                ++at_;
            } else {
                word_ += c;
            }
        }
        error_ = "has a \" that is not closed";
    }

    void backslash() {
        if (at_ == text_.size()) {
            error_ = "ends with a \\";
        } else if (text_[at_] == '\n') {
            ++at_;
        } else {
            word_was_quoted_ = true;
            put(text_[at_++]);
        }
    }

    void put(char c) {
        in_word_ = true;
        word_ += c;
    }

    void end_word() {
        if (in_word_)
            words_.push_back(word_);
        word_.clear();
        in_word_ = word_was_quoted_ = false;
    }

    std::string_view text_;
    std::size_t at_ = 0;
    std::string word_, error_;
    bool in_word_ = false, word_was_quoted_ = false;
    std::vector<std::string> words_;
};

} // namespace

Result<std::vector<std::string>> split_words(std::string_view text) { return Splitter(trim(text)).run(); }

} // namespace trainctl

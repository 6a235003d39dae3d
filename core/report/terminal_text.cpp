#include "report/terminal_text.h"

#include "base/text.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

constexpr std::string_view ellipsis = "…";
constexpr std::size_t label_width = 12;

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

// Bytes of the character at the start of valid UTF-8.
std::size_t length_of(std::string_view text) {
    std::size_t n = 1;
    while (n < text.size() && continues(text[n]))
        ++n;
    return n;
}

std::uint32_t code_point(std::string_view character) {
    if (character.size() == 1)
        return static_cast<unsigned char>(character[0]);
    std::uint32_t code = static_cast<unsigned char>(character[0]) & (0x7fu >> character.size());
    for (const char c : character.substr(1))
        code = code << 6 | (static_cast<unsigned char>(c) & 0x3fu);
    return code;
}

bool obeyed(std::uint32_t code) {
    const bool control = code < 0x20 || (code >= 0x7f && code < 0xa0);
    const bool direction = code == 0x61c || code == 0x200e || code == 0x200f || (code >= 0x202a && code <= 0x202e) ||
                           (code >= 0x2066 && code <= 0x2069);
    return control || direction || code == 0x2028 || code == 0x2029;
}

std::string spelled(std::uint32_t code) {
    return code < 0x100 ? fmt::format("\\x{:02x}", code) : fmt::format("\\u{:04x}", code);
}

// The first `width` characters.
std::string_view first_columns(std::string_view text, std::size_t width) {
    std::size_t at = 0;
    while (width-- > 0 && at < text.size())
        at += length_of(text.substr(at));
    return text.substr(0, at);
}

} // namespace

std::string clean(std::string_view raw) {
    std::string out;
    while (!raw.empty()) {
        const auto lead = static_cast<unsigned char>(raw[0]);
        const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 1;
        const auto character = raw.substr(0, length);
        if (valid_utf8(character) != character) {
            out += spelled(lead);
            raw.remove_prefix(1);
            continue;
        }
        const auto code = code_point(character);
        if (code == '\t')
            out += "    ";
        else if (obeyed(code))
            out += spelled(code);
        else
            out += character;
        raw.remove_prefix(length);
    }
    return out;
}

std::vector<std::string> cleaned_lines(std::string_view text) {
    std::vector<std::string> out;
    for (const auto &line : split_lines(text))
        out.push_back(clean(line));
    return out;
}

std::size_t columns(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return !continues(c); }));
}

std::string cut(std::string_view text, std::size_t width) {
    if (columns(text) <= width || width == 0)
        return std::string{text};
    return std::string{first_columns(text, width - 1)} + std::string{ellipsis};
}

std::string pad(std::string_view text, std::size_t width) {
    const auto used = columns(text);
    return std::string{text} + std::string(used < width ? width - used : 0, ' ');
}

std::vector<std::string> wrap(std::string_view text, std::size_t width) {
    std::vector<std::string> lines{""};
    for (const auto &word : split(text, ' ')) {
        if (word.empty())
            continue;
        std::string_view rest = word;
        if (!lines.back().empty() && columns(lines.back()) + 1 + columns(rest) <= width) {
            lines.back() += " ";
        } else if (!lines.back().empty()) {
            lines.emplace_back();
        }
        while (columns(rest) > width) {
            const auto piece = first_columns(rest, width);
            lines.back() += piece;
            lines.emplace_back();
            rest.remove_prefix(piece.size());
        }
        lines.back() += rest;
    }
    if (lines.size() > 1 && lines.back().empty())
        lines.pop_back();
    return lines;
}

constexpr std::size_t no_limit = 1u << 20;

std::size_t usable_width(const ReportStyle &style) {
    return style.width == 0 ? no_limit : static_cast<std::size_t>(std::clamp(style.width, 60, 100));
}

std::string paint(std::string_view text, Paint how, const ReportStyle &style) {
    if (!style.color)
        return std::string{text};
    const auto code = [&] {
        switch (how) {
        case Paint::good: return "32";
        case Paint::waiting: return "33";
        case Paint::bad: return "1;31";
        case Paint::faint: return "2";
        case Paint::strong: return "1";
        }
        return "0";
    }();
    return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

std::string labelled(std::string_view label, std::string_view text, const ReportStyle &style) {
    std::string out;
    std::string shown = "  " + paint(pad(label, label_width), Paint::faint, style);
    const std::size_t width = usable_width(style) - label_width - 2;
    for (const auto &line : cleaned_lines(text))
        for (const auto &part : wrap(line, width)) {
            out += shown + part + "\n";
            shown = std::string(label_width + 2, ' ');
        }
    return out;
}

} // namespace trainctl

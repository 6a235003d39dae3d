#include "base/text.h"
#include "experiment/yaml_tree.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace trainctl {

bool is_yaml_boolean(std::string_view text) {
    constexpr std::array words{"yes", "no", "on", "off", "true", "false"};
    std::string lower{text};
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    return std::find(words.begin(), words.end(), lower) != words.end();
}

bool is_odd_yaml_number(std::string_view text) {
    if (!text.empty() && (text[0] == '-' || text[0] == '+'))
        text.remove_prefix(1);
    if (text.size() < 2 || text[0] < '0' || text[0] > '9')
        return false;
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'o' || text[1] == 'b'))
        return text.size() > 2 && text.find_first_not_of("0123456789abcdefABCDEF_", 2) == std::string_view::npos;
    if (text.find_first_not_of("0123456789_") != std::string_view::npos)
        return false;
    return text[0] == '0' || text.find('_') != std::string_view::npos;
}

std::string yaml_scalar(std::string_view text) {
    constexpr std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-";
    const bool word = !text.empty() && text.find_first_not_of(plain) == std::string_view::npos &&
                      ((text[0] >= 'a' && text[0] <= 'z') || (text[0] >= 'A' && text[0] <= 'Z') || text[0] == '/');
    if (word && !is_yaml_boolean(text) && text != "null" && text != "Null" && text != "NULL")
        return std::string{text};
    const bool number = !text.empty() && text.size() < 10 &&
                        text.find_first_not_of("0123456789") == std::string_view::npos && text[0] != '0';
    if (number || text == "0")
        return std::string{text};
    std::string out = "\"";
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto c = static_cast<unsigned char>(text[i]);
        // Line and paragraph separators, next line and the byte order mark are line breaks or vanish in YAML.
        const std::string_view rest = text.substr(i);
        if (starts_with(rest, "\xe2\x80\xa8") || starts_with(rest, "\xe2\x80\xa9") ||
            starts_with(rest, "\xef\xbb\xbf")) {
            out += rest[0] == '\xef' ? "\\uFEFF" : rest[2] == '\xa8' ? "\\u2028" : "\\u2029";
            i += 2;
        } else if (starts_with(rest, "\xc2\x85")) {
            out += "\\x85";
            ++i;
        } else if (c == '"' || c == '\\') {
            out += {'\\', static_cast<char>(c)};
        } else if (c == '\n') {
            out += "\\n";
        } else if (c == '\t') {
            out += "\\t";
        } else if (c < 0x20 || c == 0x7f) {
            out += fmt::format("\\x{:02x}", c);
        } else {
            out += static_cast<char>(c);
        }
    }
    return out + "\"";
}

} // namespace trainctl

#include "help.h"

#include "base/text.h"
#include "report/terminal_text.h"

#include <vector>

namespace trainctl {

namespace {

constexpr std::size_t width = 80;

// A line that is too long goes on under its own text: behind the names, or where it began.
std::string wrapped(const std::string &line, std::size_t names_width) {
    const auto begin = line.find_first_not_of(' ');
    if (columns(line) <= width || begin == std::string::npos)
        return line + "\n";
    const bool has_name = begin == 2 && line.size() > names_width && line[names_width - 1] == ' ';
    const std::size_t indent = has_name ? names_width : begin;
    std::string out, before = line.substr(0, indent);
    for (const auto &part : wrap(line.substr(indent), width - indent)) {
        out += before + part + "\n";
        before = std::string(indent, ' ');
    }
    return out;
}

} // namespace

std::string HelpFormatter::make_help(const CLI::App *app, std::string name, CLI::AppFormatMode mode) const {
    std::string out;
    for (const auto &line : split_lines(CLI::Formatter::make_help(app, std::move(name), mode)))
        out += wrapped(line, names_width);
    return out;
}

} // namespace trainctl

// Text for a terminal: made harmless, measured, cut, wrapped, coloured. Pure. Columns are counted as one for each
// character; texts are UTF-8 once they are clean.
#pragma once

#include "report/report.h"

#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

// One line that a terminal shows and never obeys: control characters (C0, DEL, C1), those that turn the direction of
// writing and bytes that are no UTF-8 are spelled out (\x1b); tabs become blanks. `cleaned_lines` keeps line breaks.
std::string clean(std::string_view text);
std::vector<std::string> cleaned_lines(std::string_view text);

std::size_t columns(std::string_view text);
std::string cut(std::string_view text, std::size_t width);   // ends with "…" where something is missing
std::string pad(std::string_view text, std::size_t width);   // blanks behind it
std::vector<std::string> wrap(std::string_view text, std::size_t width); // at blanks; longer words are broken

// The columns to use.
std::size_t usable_width(const ReportStyle &style);

enum class Paint { good, waiting, bad, faint, strong };
std::string paint(std::string_view text, Paint how, const ReportStyle &style);

// "  label       text" with the text wrapped under itself, and a newline. Nothing for an empty text.
std::string labelled(std::string_view label, std::string_view text, const ReportStyle &style);

} // namespace trainctl

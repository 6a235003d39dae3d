// What people read besides the result: stderr, at once. A word that nobody can take is no reason to end.
#pragma once

#include <fmt/format.h>
#include <string_view>
#include <utility>

namespace trainctl {

void note_text(std::string_view text);

template <class... T> void note(fmt::format_string<T...> format, T &&...values) { note_text(fmt::format(format, std::forward<T>(values)...)); }

// `--verbose`: what is run on the cluster is told as well. Off at first.
void be_verbose();
bool verbose();

// Programs that were started with stdin, stdout or stderr closed would take a file of theirs for it.
void open_standard_files();

} // namespace trainctl

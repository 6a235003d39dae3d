// Small things about text that several rooms need. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

std::vector<std::string> split(std::string_view text, char separator);
std::vector<std::string> split_lines(std::string_view text); // without "\n" and "\r\n"; no empty last line
std::string_view trim(std::string_view text);
std::string join(const std::vector<std::string> &parts, std::string_view separator);
bool starts_with(std::string_view text, std::string_view prefix);
bool ends_with(std::string_view text, std::string_view suffix);

// One word for a POSIX shell: 'it'\''s'. Words of safe characters only stay as they are. A NUL can't be
// in an argument at all: the caller checks.
std::string shell_quote(std::string_view word);
std::string shell_join(const std::vector<std::string> &words);

// The candidate that a person most likely meant, or "" where none is near (Damerau-Levenshtein distance of
// at most a third of the word).
std::string did_you_mean(std::string_view word, const std::vector<std::string> &candidates);

// Whole text as valid UTF-8: bytes that are not become U+FFFD. For anything that goes into JSON.
std::string valid_utf8(std::string_view text);

// "1.5 GB", "820 MB", "12 B": decimal units, two digits.
std::string human_bytes(std::uint64_t bytes);
// "1 attempt", "3 attempts".
std::string counted(std::int64_t count, const std::string &noun);

} // namespace trainctl

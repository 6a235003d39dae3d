// How the patterns of rules are read, everywhere: on one line of bytes, unanchored. Pure.
#pragma once

#include <re2/re2.h>

namespace trainctl {

// For one rule alone. Beyond this memory RE2 goes on without its automaton, slower and as right.
inline constexpr std::int64_t max_rule_memory = 8 << 20;

inline RE2::Options pattern_options(std::int64_t max_memory = max_rule_memory) {
    RE2::Options options;
    options.set_encoding(RE2::Options::EncodingLatin1); // logs have any bytes: each is a character
    options.set_max_mem(max_memory);
    options.set_log_errors(false); // they are looked at, not printed
    return options;
}

} // namespace trainctl

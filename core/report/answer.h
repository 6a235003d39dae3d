// The desk's answer read with a forgiving eye: a field that is missing or of another type is a value that is not known,
// never an error, because the desk may be of another version. Texts come out clean for a terminal. Pure.
#pragma once

#include "base/json.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace trainctl {

// The member of an object; null where there is none.
const Json &member(const Json &object, const char *key);
std::string text_of(const Json &object, const char *key);     // as it is
std::string clean_text(const Json &object, const char *key);  // one clean line
std::optional<std::int64_t> integer_of(const Json &object, const char *key);
std::optional<double> number_of(const Json &object, const char *key);
bool is_true(const Json &object, const char *key);
std::vector<Json> items_of(const Json &object, const char *key);

// "3 m 10 s" of whole seconds, and how long ago a moment was with its UTC time; "" where it is not known.
std::string seconds_text(std::int64_t seconds);
std::string ago(std::optional<std::int64_t> when, std::optional<std::int64_t> now);
std::string ago_utc(std::optional<std::int64_t> when, std::optional<std::int64_t> now);

// "step 1240 of 10000 (12 %), loss 2.311, 3.41 steps/s" of a progress record; "" where nothing is known.
std::string progress_text(const Json &progress);
// How long the rest takes at this rate.
std::optional<std::int64_t> seconds_left(const Json &progress);

} // namespace trainctl

// JSON documents (nlohmann): parsing that returns a Result, and printing that never throws on odd bytes.
#pragma once

#include "base/result.h"

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace trainctl {

using Json = nlohmann::json;

// `where` names the source in the error (a path, a command).
Result<Json> parse_json(std::string_view text, const std::string &where);
// indent < 0: one line. Invalid UTF-8 becomes U+FFFD.
std::string dump_json(const Json &value, int indent = -1);

} // namespace trainctl

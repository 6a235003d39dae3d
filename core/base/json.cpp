#include "base/json.h"

namespace trainctl {

Result<Json> parse_json(std::string_view text, const std::string &where) {
    Json value = Json::parse(text, nullptr, false);
    if (value.is_discarded())
        return Error{ErrorKind::invalid, "this is not JSON", where, ""};
    return value;
}

std::string dump_json(const Json &value, int indent) {
    return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

} // namespace trainctl

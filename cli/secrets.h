// The user's secrets, taken from the environment of this command. Messages name them and never show a value.
#pragma once

#include "base/json.h"

#include <string>
#include <vector>

namespace trainctl {

// {name: value} of these into `secrets`. exit_ok, or exit_usage where one is missing or can't travel, which is said.
int read_secrets(const std::vector<std::string> &names, Json &secrets);

} // namespace trainctl

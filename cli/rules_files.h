// Files of rules for failures, as people name them: of an experiment, of a cluster's profile, of a command.
#pragma once

#include "cluster/profile.h"
#include "failure/book.h"

#include <string>

namespace trainctl {

// The file's text. Error: with the path, also where there is none.
Result<std::string> read_rules_file(const std::string &path);

// `failure_rules` of a profile as a path of this machine; "" where it has none.
std::string rules_path_of(const Profile &profile);

// The built-in rules, with those of this cluster's profile on top; "" is no cluster.
Result<FailureBook> rules_of_cluster(const std::string &cluster);

// The book with the rules of this file on top; "" is no file.
Result<FailureBook> with_rules_file(FailureBook book, const std::string &path);

} // namespace trainctl

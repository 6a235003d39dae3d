#include "rules_files.h"

#include "base/files.h"
#include "base/process.h"
#include "experiment/yaml_tree.h"

#include <filesystem>

namespace trainctl {

Result<std::string> read_rules_file(const std::string &path) {
    std::error_code failed;
    if (std::filesystem::is_directory(path, failed))
        return Error{ErrorKind::invalid, "this is a folder, not a file of rules", path, ""};
    auto text = read_at_most(path, max_yaml_bytes);
    if (!text)
        return text.error();
    if (!*text)
        return Error{ErrorKind::invalid, "there is no such file", path, ""};
    return std::move(**text);
}

std::string rules_path_of(const Profile &profile) {
    if (profile.failure_rules.empty())
        return "";
    const std::filesystem::path path = expand_home(profile.failure_rules, own_variable("HOME", "/"));
    return (std::filesystem::path{profiles_path()}.parent_path() / path).lexically_normal().string();
}

Result<FailureBook> rules_of_cluster(const std::string &cluster) {
    if (cluster.empty())
        return builtin_failures();
    const auto profile = find_profile(profiles_path(), cluster);
    return profile ? with_rules_file(builtin_failures(), rules_path_of(*profile)) : Result<FailureBook>{profile.error()};
}

Result<FailureBook> with_rules_file(FailureBook book, const std::string &path) {
    if (path.empty())
        return book;
    const auto text = read_rules_file(path);
    return text ? with_rules(std::move(book), *text, path) : Result<FailureBook>{text.error()};
}

} // namespace trainctl

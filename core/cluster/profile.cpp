#include "cluster/profile.h"

#include "base/clock.h"
#include "base/files.h"
#include "base/process.h"
#include "base/text.h"
#include "cluster/profile_text.h"

#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

namespace trainctl {

namespace {

// Two sandboxes may come up at once: each reads, changes and writes the file.
constexpr auto lock_wait = std::chrono::seconds{5};
constexpr auto lock_poll = std::chrono::milliseconds{20};

class FileLock {
public:
    explicit FileLock(const std::string &path) : path_(path) {}
    ~FileLock() {
        if (fd_ >= 0)
            ::close(fd_);
    }
    FileLock(const FileLock &) = delete;
    FileLock &operator=(const FileLock &) = delete;

    Result<void> take() {
        fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd_ < 0)
            return errno_error(errno, "cannot lock", path_);
        const auto until = std::chrono::steady_clock::now() + lock_wait;
        while (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
            if (errno != EWOULDBLOCK && errno != EINTR)
                return {}; // a file system without locks: then only one at a time is safe
            if (std::chrono::steady_clock::now() > until)
                return Error{ErrorKind::timeout, "another trainctl is changing the clusters", path_, "try again"};
            SystemClock{}.sleep_for(lock_poll);
        }
        return {};
    }

private:
    std::string path_;
    int fd_ = -1;
};

// A link to a file kept elsewhere stays a link.
std::string real_path(const std::string &path) {
    std::error_code failed;
    const auto real = std::filesystem::canonical(path, failed);
    return failed ? path : real.string();
}

} // namespace

Profile login_node_profile() {
    Profile profile;
    profile.root = "~/trainctl";
    return profile;
}

std::string expand_home(const std::string &root, const std::string &home) {
    for (const std::string prefix : {"~", "$HOME"}) {
        if (root == prefix)
            return home;
        if (starts_with(root, prefix + "/"))
            return join_path(home, root.substr(prefix.size() + 1));
    }
    return root;
}

std::string profiles_path() {
    const std::string config = own_variable("XDG_CONFIG_HOME");
    const std::string folder = !config.empty() && config[0] == '/' ? config : own_variable("HOME", ".") + "/.config";
    return folder + "/trainctl/clusters.yaml";
}

Result<std::map<std::string, Profile>> load_profiles(const std::string &path) {
    PosixFiles files;
    const auto text = files.read(path);
    if (!text)
        return text.error();
    auto parsed = parse_profiles(text->value_or(""), path);
    if (parsed.problems.empty())
        return std::move(parsed.profiles);
    std::vector<std::string> lines;
    for (const auto &problem : parsed.problems)
        lines.push_back(problem.text());
    return Error{ErrorKind::invalid, join(lines, "\n"), "", ""};
}

Result<Profile> find_profile(const std::string &path, const std::string &name) {
    const auto profiles = load_profiles(path);
    if (!profiles)
        return profiles.error();
    const auto found = profiles->find(name.empty() ? "default" : name);
    if (found != profiles->end())
        return found->second;
    if (name.empty())
        return login_node_profile();
    std::vector<std::string> names;
    for (const auto &[one, profile] : *profiles)
        names.push_back(one);
    const std::string near = did_you_mean(name, names);
    std::string hint =
        "no clusters are known yet: write that file, or run `trainctl sandbox up` for one on this machine";
    if (!near.empty())
        hint = fmt::format("did you mean '{}'?", near);
    else if (!names.empty())
        hint = "known clusters: " + join(names, ", ");
    return Error{ErrorKind::not_found, fmt::format("no cluster called '{}'", name), path, hint};
}

void apply_defaults(Experiment &experiment, const Profile &profile) {
    const auto fill = [](std::string &place, const std::string &otherwise) {
        if (place.empty())
            place = otherwise;
    };
    fill(experiment.resources.partition, profile.partition);
    fill(experiment.resources.account, profile.account);
    fill(experiment.resources.qos, profile.qos);
}

Result<void> save_profiles(const std::string &path, const std::vector<Profile> &add,
                           const std::vector<std::string> &remove) {
    PosixFiles files;
    const std::string real = real_path(path);
    if (auto made = files.make_dirs(parent_path(real)); !made)
        return made;
    FileLock lock(real + ".lock");
    if (auto taken = lock.take(); !taken)
        return taken;
    const auto text = files.read(real);
    if (!text)
        return text.error();
    const std::string before = text->value_or("");
    const auto changed = edit_profiles(before, path, add, remove);
    if (!changed)
        return changed.error();
    return *changed == before ? Result<void>{} : files.write(real, *changed);
}

} // namespace trainctl

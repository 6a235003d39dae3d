#include "simulator/disk.h"

#include "base/text.h"

namespace trainctl::sim {

using namespace std::chrono_literals;

void Disk::changed(Host &host, const std::string &folder) {
    // The answer to our own change carries the folder's state before it: the client sees that it was stale.
    host.listings.erase(folder);
    for (auto at = host.absent.begin(); at != host.absent.end();)
        at = parent_path(at->first) == folder ? host.absent.erase(at) : std::next(at);
}

bool Disk::seems_absent(Host &host, const std::string &path) {
    const auto learned = host.absent.find(path);
    if (learned != host.absent.end() && loop_.now() - learned->second < staleness_)
        return true;
    host.absent.erase(path);
    if (files.contains(path))
        return false;
    host.absent[path] = loop_.now();
    return true;
}

std::vector<std::string> Disk::listing(Host &host, const std::string &folder) {
    auto &[when, names] = host.listings[folder];
    if (when != Instant{} && loop_.now() - when < staleness_)
        return names;
    when = loop_.now();
    names.clear();
    names = names_in(folder);
    return names;
}

std::vector<std::string> Disk::names_in(const std::string &folder) const {
    std::vector<std::string> names;
    const std::string prefix = folder + "/";
    const auto add = [&](const std::string &path) {
        if (path.find('/', prefix.size()) == std::string::npos)
            names.push_back(path.substr(prefix.size()));
    };
    for (auto at = files.lower_bound(prefix); at != files.end() && starts_with(at->first, prefix); ++at)
        add(at->first);
    for (auto at = folders.lower_bound(prefix); at != folders.end() && starts_with(*at, prefix); ++at)
        add(*at);
    std::sort(names.begin(), names.end());
    return names;
}

void Disk::remove_tree(const std::string &folder) {
    const auto clear = [prefix = folder + "/"](auto &all, const auto &path_of) {
        auto end = all.lower_bound(prefix);
        while (end != all.end() && starts_with(path_of(*end), prefix))
            ++end;
        all.erase(all.lower_bound(prefix), end);
    };
    clear(files, [](const auto &file) { return file.first; });
    clear(folders, [](const auto &path) { return path; });
    folders.erase(folder);
}

void Disk::rename_tree(const std::string &from, const std::string &to) {
    remove_tree(to);
    const std::string prefix = from + "/";
    std::vector<std::pair<std::string, std::string>> moved;
    for (auto at = files.lower_bound(prefix); at != files.end() && starts_with(at->first, prefix); ++at)
        moved.emplace_back(to + "/" + at->first.substr(prefix.size()), at->second);
    remove_tree(from);
    folders.insert(to);
    files.insert(moved.begin(), moved.end());
}

// An effect starts: the actor may die before it, and a cut-off host waits like a hard mount does.
void HostFiles::before() {
    loop_.effect();
    loop_.sleep(loop_.chance(0.02) ? loop_.between(1s, 20s) : loop_.between(1ms, 30ms));
    while (loop_.now() < host_.cut_until)
        loop_.sleep(host_.cut_until - loop_.now());
}

// ... and after it, before it knows that it happened.
void HostFiles::after() {
    loop_.effect();
    if (loop_.chance(0.3))
        loop_.sleep(loop_.between(0ms, 2s));
}

Result<bool> HostFiles::make_dir(const std::string &path) {
    before();
    const bool made = disk_.folders.insert(path).second;
    disk_.changed(host_, parent_path(path));
    after();
    return made;
}

Result<void> HostFiles::make_dirs(const std::string &path) {
    auto made = make_dir(path);
    return made ? Result<void>{} : Result<void>{made.error()};
}

Result<std::optional<std::string>> HostFiles::read(const std::string &path) {
    before();
    if (disk_.seems_absent(host_, path))
        return std::optional<std::string>{};
    return std::optional{disk_.files.at(path)};
}

Result<void> HostFiles::write(const std::string &path, std::string_view content) {
    before();
    if (!disk_.folders.contains(parent_path(path)))
        return Error{ErrorKind::not_found, "no such folder", path, ""};
    disk_.files[path] = std::string{content};
    disk_.changed(host_, parent_path(path));
    after();
    return {};
}

Result<bool> HostFiles::publish(const std::string &path, std::string_view content) {
    before();
    if (!disk_.folders.contains(parent_path(path)))
        return Error{ErrorKind::not_found, "no such folder", path, ""};
    const bool ours = disk_.files.emplace(path, std::string{content}).second;
    disk_.changed(host_, parent_path(path));
    after();
    return ours;
}

Result<void> HostFiles::append(const std::string &path, std::string_view text) {
    before();
    disk_.files[path] += text;
    after();
    return {};
}

Result<std::vector<std::string>> HostFiles::list(const std::string &path) {
    before();
    return disk_.listing(host_, path);
}

Result<void> HostFiles::rename(const std::string &from, const std::string &to) {
    before();
    const auto file = disk_.files.extract(from);
    if (file.empty())
        return Error{ErrorKind::not_found, "no such file", from, ""};
    disk_.files[to] = file.mapped();
    disk_.changed(host_, parent_path(from));
    disk_.changed(host_, parent_path(to));
    after();
    return {};
}

Result<void> HostFiles::remove(const std::string &path) {
    before();
    disk_.files.erase(path);
    disk_.changed(host_, parent_path(path));
    after();
    return {};
}

} // namespace trainctl::sim

// A shared file system as NFS clients see it: operations that change something happen at once on the server,
// but what a host learned of names stays true for it for a while, unless it changes that folder itself.
#pragma once

#include "base/files.h"
#include "simulator/loop.h"

#include <map>
#include <set>

namespace trainctl::sim {

struct Host {
    std::string name;
    Instant cut_until{};   // its file system and network hang until then
    Instant net_until{};   // its network alone: what runs there goes on writing
    Instant slurmd_until{}; // its slurmd is gone: Slurm neither hears nor reaches it, and what runs there goes on
    bool dead = false;
    std::map<std::string, Instant> absent;  // names learned to be absent, and when
    std::map<std::string, std::pair<Instant, std::vector<std::string>>> listings;
};

class Disk {
public:
    Disk(Loop &loop, Duration staleness) : loop_(loop), staleness_(staleness) {}

    std::map<std::string, std::string> files; // the server's truth
    std::set<std::string> folders;

    void changed(Host &host, const std::string &folder);
    bool seems_absent(Host &host, const std::string &path);
    std::vector<std::string> listing(Host &host, const std::string &folder);
    std::vector<std::string> names_in(const std::string &folder) const; // the truth
    void remove_tree(const std::string &folder);
    void rename_tree(const std::string &from, const std::string &to);
    Duration staleness() const { return staleness_; }

private:
    Loop &loop_;
    Duration staleness_;
};

// One host's client of the disk.
class HostFiles final : public Files {
public:
    HostFiles(Loop &loop, Disk &disk, Host &host) : loop_(loop), disk_(disk), host_(host) {}

    Result<bool> make_dir(const std::string &path) override;
    Result<void> make_dirs(const std::string &path) override;
    Result<std::optional<std::string>> read(const std::string &path) override;
    Result<void> write(const std::string &path, std::string_view content) override;
    Result<bool> publish(const std::string &path, std::string_view content) override;
    Result<void> append(const std::string &path, std::string_view text) override;
    Result<std::vector<std::string>> list(const std::string &path) override;
    Result<void> rename(const std::string &from, const std::string &to) override;
    Result<void> remove(const std::string &path) override;

private:
    void before();
    void after();

    Loop &loop_;
    Disk &disk_;
    Host &host_;
};

} // namespace trainctl::sim

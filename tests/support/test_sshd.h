// A private sshd on a free loopback port as the current user, with its own keys in a folder of the test's; gone
// with its sessions when this object goes, and when the test program dies.
#pragma once

#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace trainctl {

class TestSshd {
public:
    // Nothing, with a MESSAGE, where OpenSSH is not installed. `folder` must exist. `extra` goes into sshd_config.
    static std::optional<TestSshd> start(const std::string &folder, const std::string &extra = "");
    ~TestSshd();
    TestSshd(TestSshd &&other) noexcept;
    TestSshd &operator=(TestSshd &&) = delete;

    int port() const { return port_; }
    const std::string &user() const { return user_; }
    const std::string &folder() const { return folder_; }
    std::string key() const { return folder_ + "/user_key"; }       // its public half is authorized
    std::string host_key() const { return folder_ + "/host_key"; }
    std::string known_hosts() const { return folder_ + "/known_hosts"; }
    // The path of an ssh config in which the host "sandbox" is this sshd, all else left at its defaults.
    std::string config() const { return folder_ + "/ssh_config"; }
    // Connections that were let in so far, by its log, and the log itself.
    int connections() const;
    std::string log() const;
    // The processes that serve sessions now.
    std::vector<pid_t> children() const;
    void stop();

private:
    TestSshd() = default;
    bool launch(const std::string &extra);

    std::string folder_, user_;
    int port_ = 0;
    pid_t pid_ = -1;
};

// Runs a shell line; its exit code. For ssh-keygen and the like.
int shell(const std::string &line);
void write_text(const std::string &path, const std::string &text);
std::string read_text(const std::string &path);

} // namespace trainctl

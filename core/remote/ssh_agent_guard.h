// Stands between libssh and an ssh-agent: shows libssh a choice of the agent's keys in our order, and cuts the
// line when time is over or we are interrupted, because libssh waits for an agent without any limit.
#pragma once

#include "remote/ssh_link.h"

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace trainctl {

enum class AgentKeys { wanted, others };

class AgentGuard {
public:
    // `wanted`: public keys in base64. `patience` must outlive the guard.
    AgentGuard(std::string socket_path, std::vector<std::string> wanted, const SshPatience &patience);
    ~AgentGuard();
    AgentGuard(const AgentGuard &) = delete;
    AgentGuard &operator=(const AgentGuard &) = delete;

    // The end for ssh_set_agent_socket(), which closes it; -1 where there is no such agent.
    int socket() const { return for_libssh_; }
    void show(AgentKeys keys) { keys_ = keys; }
    // Of those wanted, the ones that the agent has; complete once libssh has asked for its keys.
    bool has(const std::string &base64) const;
    int shown() const { return shown_; }

private:
    void serve();
    std::string choose(const std::string &answer);

    const std::vector<std::string> wanted_;
    const SshPatience &patience_;
    int for_libssh_ = -1, ours_ = -1, agent_ = -1;
    std::atomic<AgentKeys> keys_ = AgentKeys::wanted;
    std::atomic<int> shown_ = 0;
    std::atomic<bool> stop_ = false;
    mutable std::mutex mutex_;
    std::vector<std::string> found_;
    std::thread thread_;
};

std::string base64(std::string_view bytes);

} // namespace trainctl

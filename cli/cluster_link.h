// A cluster as a command uses it: a profile, a connection, and calls to the desk on the other side
// (`trainctl-agent desk`), whose program is put there when it is missing. One connection for a command.
#pragma once

#include "base/json.h"
#include "base/result.h"
#include "cluster/profile.h"
#include "remote/transport.h"

#include <functional>
#include <memory>
#include <string>

namespace trainctl {

// For what takes as long as a training needs to save: the desk there knows how long that is.
constexpr Duration patient = std::chrono::hours{24};

class ClusterLink {
public:
    // The profile by its name; "" is the default (see find_profile). Connects at the first call.
    static Result<ClusterLink> open(const std::string &cluster);
    // The cluster of a run, by what this machine remembers of its submit, or by --cluster. `run` may be the beginning of
    // an id that is remembered here; it is made whole.
    static Result<ClusterLink> of_run(std::string &run, const std::string &cluster);

    // One request to the desk: {"verb": "status", ...}; "root" is added. The answer is an object with "format".
    // The desk's own errors come back as Error. `on_message`, where set, gets messages before the answer
    // (following logs, progress); false ends the call.
    Result<Json> call(Json request, const std::function<bool(const Json &)> &on_message = {},
                      Duration deadline = std::chrono::minutes{10});

    // One command there, in the environment that the profile gives Slurm's commands; needs no run root and no agent.
    Result<CommandResult> run(RemoteCommand command);

    const Profile &profile() const { return profile_; }
    Transport &transport() { return *transport_; }
    const std::string &agent_hash() const { return agent_hash_; } // SHA-256 of the agent that runs get
    std::string where() const; // for people: "sandbox (me@localhost:2222)"
    bool heard() const { return heard_; } // the desk has said something once
    // The profile's run root as the cluster resolves it; asks for the home folder there only where it is not absolute.
    Result<std::string> absolute_root();

private:
    ClusterLink(Profile profile, std::unique_ptr<Transport> transport);
    Result<void> send_agent(const std::string &arch);
    std::string exports() const;
    Error not_there(Error error) const;
    std::string desk_line(bool new_root) const;

    Profile profile_;
    std::unique_ptr<Transport> transport_;
    std::string agent_; // path of ours, and its hash
    std::string agent_hash_;
    bool heard_ = false;
    bool guessed_ = false; // nobody named the cluster, and no submit from here did
};

// Ctrl-C and TERM during a command set this; transports and loops look at it.
bool interrupted();
void listen_for_interrupts();

} // namespace trainctl

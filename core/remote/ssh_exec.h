// One command in one channel of an SshLink: started, fed, read and ended. Inside of SshTransport.
#pragma once

#include "remote/ssh_link.h"
#include "remote/transport.h"

#include <memory>
#include <string>

namespace trainctl {

class SshExec {
public:
    SshExec(SshLink &link, SshPatience patience);
    ~SshExec();
    SshExec(const SshExec &) = delete;
    SshExec &operator=(const SshExec &) = delete;

    // Opens the channel and asks for the command.
    Result<void> start(const std::string &line);
    // Whether the server may have got the request: then it must not be sent again.
    bool asked() const;
    Result<CommandResult> finish(const RemoteCommand &command);
    void kill(); // asks the server for SIGKILL; as far as the connection can still carry it
    void drop(); // lets the channel go; before its link

private:
    struct State;
    std::unique_ptr<State> state_;
};

} // namespace trainctl

// A Transport that says what it runs, for how long, and how it ended: for `--verbose`. Of a command's input and output only
// the size is told: there may be secrets in them.
#pragma once

#include "base/clock.h"
#include "base/log.h"
#include "remote/transport.h"

namespace trainctl {

class LoggedTransport final : public Transport {
public:
    LoggedTransport(std::unique_ptr<Transport> inner, Log log);
    Result<CommandResult> run(const RemoteCommand &command) override;
    std::string name() const override { return inner_->name(); }

private:
    std::unique_ptr<Transport> inner_;
    SystemClock clock_; // for how long it took only
    Log log_;
};

} // namespace trainctl

// Where the agents reach their head: listens, and takes what comes by srun; lets in who knows the attempt's secret, one
// connection for a node, the newest.
#pragma once

#include "agent/link.h"
#include "agent/messages.h"

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace trainctl {

class HeadServer {
public:
    struct Calls {
        std::function<void(const std::string &node)> on_connected, on_closed;
        std::function<void(const std::string &node, const Report &)> on_report;
        std::function<void(const std::string &)> log;
    };

    HeadServer(Loop &loop, AttemptNo attempt, std::vector<std::string> nodes, Calls calls);
    ~HeadServer();

    Result<HeadAddress> start(); // what belongs into head.json
    void admit(const MakeLink &make); // somebody who proved nothing yet
    void send(const std::string &node, const Order &order);
    std::size_t connections() const { return nodes_.size(); }
    bool by_srun(const std::string &node) const;
    std::size_t connections_by_srun() const;

private:
    struct Guest;
    void accept_all();
    void take_frame(const std::shared_ptr<Guest> &guest, const std::string &payload);
    void drop(const std::shared_ptr<Guest> &guest, const std::string &why);
    void welcome(const std::shared_ptr<Guest> &guest, const std::string &payload);

    Loop &loop_;
    AttemptNo attempt_;
    std::set<std::string> expected_;
    Calls calls_;
    std::string secret_;
    Fd listener_;
    std::set<std::shared_ptr<Guest>> guests_;              // proved nothing yet
    std::map<std::string, std::shared_ptr<Guest>> nodes_;  // by name
};

} // namespace trainctl

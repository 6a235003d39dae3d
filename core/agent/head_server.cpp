#include "agent/head_server.h"

#include "agent/spawn.h"
#include "base/hash.h"

#include <algorithm>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration handshake_limit = 5s;
// Who proved nothing: port scanners and the like. Agents that are not let in come again.
constexpr std::size_t spare_guests = 64;

} // namespace

struct HeadServer::Guest {
    Guest(const std::string &secret, AttemptNo attempt) : handshake(secret, attempt) {}
    HeadHandshake handshake;
    std::optional<Sealer> sealer;
    std::string node;
    std::unique_ptr<Link> link;
    Loop::Timer timer = 0;
};

HeadServer::HeadServer(Loop &loop, AttemptNo attempt, std::vector<std::string> nodes, Calls calls)
    : loop_(loop), attempt_(attempt), expected_(nodes.begin(), nodes.end()), calls_(std::move(calls)), secret_(random_hex(32)) {}

HeadServer::~HeadServer() {
    for (const auto &guest : guests_)
        loop_.cancel(guest->timer);
    if (listener_)
        loop_.forget(listener_.get());
}

Result<HeadAddress> HeadServer::start() {
    raise_file_limit(); // a connection for each node
    auto listener = listen_anywhere();
    if (!listener)
        return listener.error();
    listener_ = std::move(listener->socket);
    loop_.when_readable(listener_.get(), [this] { accept_all(); });
    return HeadAddress{own_addresses(), listener->port, secret_};
}

void HeadServer::accept_all() {
    while (auto socket = accept_one(listener_.get()))
        admit([&](Link::Calls calls) { return std::make_unique<TcpLink>(loop_, std::move(*socket), std::move(calls)); });
}

void HeadServer::admit(const MakeLink &make) {
    if (guests_.size() >= expected_.size() + spare_guests)
        return; // a socket is closed again
    auto guest = std::make_shared<Guest>(secret_, attempt_);
    const std::weak_ptr<Guest> weak = guest;
    guest->link = make(Link::Calls{[this, weak](const std::string &payload) {
                                       if (const auto here = weak.lock())
                                           take_frame(here, payload);
                                   },
                                   [this, weak](const std::string &why) {
                                       if (const auto here = weak.lock())
                                           drop(here, why);
                                   }});
    guest->timer = loop_.after(handshake_limit, [this, weak] {
        if (const auto here = weak.lock())
            drop(here, "no handshake within 5 s");
    });
    guests_.insert(guest);
    guest->link->send(guest->handshake.challenge());
}

void HeadServer::drop(const std::shared_ptr<Guest> &guest, const std::string &why) {
    loop_.cancel(guest->timer);
    guest->link->close();
    guests_.erase(guest);
    const auto found = nodes_.find(guest->node);
    if (found != nodes_.end() && found->second == guest) {
        nodes_.erase(found);
        calls_.log("the connection to " + guest->node + " ended: " + why);
        calls_.on_closed(guest->node);
    }
    // Its link may be what called us.
    loop_.post([guest] {});
}

void HeadServer::take_frame(const std::shared_ptr<Guest> &guest, const std::string &payload) {
    if (!guest->sealer)
        return welcome(guest, payload);
    const auto text = guest->sealer->open(payload);
    const auto report = text ? report_from(*text) : Result<Report>{text.error()};
    if (!report)
        return drop(guest, report.error().text());
    calls_.on_report(guest->node, *report);
}

void HeadServer::welcome(const std::shared_ptr<Guest> &guest, const std::string &payload) {
    const auto answer = guest->handshake.answer(payload);
    if (!answer || expected_.count(answer->node) == 0)
        return drop(guest, "not let in");
    loop_.cancel(guest->timer);
    guests_.erase(guest);
    guest->node = answer->node;
    guest->sealer = answer->sealer;
    guest->link->allow_large_frames();
    guest->link->send(answer->reply);
    // A new connection of a node takes the place of its old one, which broke without a word.
    if (const auto old = std::exchange(nodes_[guest->node], guest)) {
        old->link->close();
        loop_.post([old] {});
    }
    calls_.on_connected(guest->node);
}

bool HeadServer::by_srun(const std::string &node) const {
    const auto found = nodes_.find(node);
    return found != nodes_.end() && found->second->link->by_srun();
}

std::size_t HeadServer::connections_by_srun() const {
    return static_cast<std::size_t>(std::count_if(nodes_.begin(), nodes_.end(), [](const auto &node) { return node.second->link->by_srun(); }));
}

void HeadServer::send(const std::string &node, const Order &order) {
    const auto found = nodes_.find(node);
    if (found != nodes_.end())
        found->second->link->send(found->second->sealer->seal(dump_json(to_json(order))));
}

} // namespace trainctl

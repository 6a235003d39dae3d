#include "agent/node_connection.h"

#include "base/files.h"

#include <algorithm>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration connect_limit = 2s, handshake_limit = 5s;
constexpr Duration first_pause = 100ms, longest_pause = 2s;

} // namespace

HeadConnection::HeadConnection(Loop &loop, NodePlan plan, Calls calls)
    : loop_(loop), plan_(std::move(plan)), calls_(std::move(calls)) {}

HeadConnection::~HeadConnection() { stop(); }

void HeadConnection::start() { try_next(); }

void HeadConnection::stop() {
    loop_.cancel(timer_);
    if (connecting_) {
        loop_.forget(connecting_.get());
        connecting_.close();
    }
    sealer_.reset();
    handshake_.reset();
    link_.reset();
}

bool HeadConnection::read_address() {
    const std::string path = join_path(plan_.attempt_dir, "head.json");
    const auto text = PosixFiles{}.read(path);
    if (!text || !*text) {
        last_error_ = text ? path + " is not there" : text.error().text();
        return false;
    }
    auto address = head_address_from(**text, path);
    if (!address || address->addresses.empty()) {
        last_error_ = address ? path + " names no address" : address.error().text();
        return false;
    }
    head_ = std::move(*address);
    return true;
}

void HeadConnection::try_next() {
    stop();
    if (!head_ && !read_address())
        return retry();
    const auto &address = head_->addresses[next_address_ % head_->addresses.size()];
    auto socket = begin_connect(address, head_->port);
    if (!socket) {
        last_error_ = socket.error().text();
        return retry();
    }
    connecting_ = std::move(*socket);
    const int fd = connecting_.get();
    timer_ = loop_.after(connect_limit, [this] {
        last_error_ = "no answer within 2 s";
        retry();
    });
    loop_.when_writable(fd, [this, fd] {
        if (connecting_.get() != fd)
            return;
        loop_.cancel(timer_);
        loop_.forget(fd);
        if (auto problem = connect_error(fd); !problem.empty()) {
            last_error_ = problem;
            return retry();
        }
        connected_socket(std::move(connecting_));
    });
}

// The next address; a pause once all were tried.
void HeadConnection::retry() {
    stop();
    if (head_) {
        if (failures_ == 0 || failures_ % 100 == 0)
            calls_.log("no head at " + head_->addresses[next_address_ % head_->addresses.size()] + ": " + last_error_);
        ++next_address_;
        ++failures_;
        if (++tried_ < head_->addresses.size()) {
            timer_ = loop_.after(0s, [this] { try_next(); });
            return;
        }
        tried_ = 0;
    }
    const auto rounds = head_ ? failures_ / head_->addresses.size() : 1;
    const Duration pause = std::min<Duration>(longest_pause, first_pause * (1u << std::min<std::size_t>(rounds, 5)));
    timer_ = loop_.after(pause, [this] { try_next(); });
}

void HeadConnection::connected_socket(Fd socket) {
    handshake_.emplace(head_->secret, plan_.node, plan_.attempt);
    link_ = std::make_unique<Link>(loop_, std::move(socket),
                                   Link::Calls{[this](const std::string &payload) { take_frame(payload); },
                                               [this](const std::string &why) {
                                                   last_error_ = why;
                                                   // Not from within the link's own call: retry() destroys it.
                                                   sealer_.reset();
                                                   loop_.cancel(timer_);
                                                   timer_ = loop_.after(0s, [this] { retry(); });
                                               }});
    timer_ = loop_.after(handshake_limit, [this] {
        last_error_ = "no handshake within 5 s";
        retry();
    });
}

void HeadConnection::take_frame(const std::string &payload) {
    const auto refuse = [this](const Error &error) {
        last_error_ = error.text();
        link_->close();
        loop_.cancel(timer_);
        sealer_.reset();
        timer_ = loop_.after(0s, [this] { retry(); });
    };
    if (sealer_) {
        const auto text = sealer_->open(payload);
        const auto order = text ? order_from(*text) : Result<Order>{text.error()};
        if (!order)
            return refuse(order.error());
        return calls_.on_order(*order);
    }
    if (!handshake_)
        return;
    // The first frame is the challenge, the second the proof.
    if (auto sealer = handshake_->accept(payload)) {
        sealer_ = std::move(*sealer);
        link_->allow_large_frames();
        loop_.cancel(timer_);
        failures_ = tried_ = 0;
        return calls_.on_connected();
    }
    const auto answer = handshake_->answer(payload);
    if (!answer)
        return refuse(answer.error());
    link_->send(*answer);
}

void HeadConnection::send(const Report &report) {
    if (sealer_ && link_)
        link_->send(sealer_->seal(dump_json(to_json(report))));
}

std::string HeadConnection::local_address() const { return link_ ? link_->local_address() : ""; }

} // namespace trainctl

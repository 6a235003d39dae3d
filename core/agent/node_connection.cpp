#include "agent/node_connection.h"

#include "base/files.h"

#include <algorithm>
#include <fcntl.h>
#include <unistd.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration connect_limit = 2s, handshake_limit = 5s;
// How long TCP alone is tried once it worked: a node has to be back within Fleet's `rejoin`, or is lost.
constexpr Duration next_patience = 2s;
constexpr Duration srun_limit = 10s; // srun passes nothing on before all tasks are launched
constexpr Duration first_pause = 100ms, longest_pause = 2s;

// srun's streams, out of everybody's way: what else writes or reads 1 and 0 gets /dev/null.
std::shared_ptr<SrunWire> take_standard_streams(Loop &loop, const std::string &node) {
    Fd in{::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)}, out{::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)};
    const Fd null{::open("/dev/null", O_RDWR | O_CLOEXEC)};
    if (!in || !out || !null)
        return nullptr;
    ::dup2(null.get(), STDIN_FILENO);
    ::dup2(null.get(), STDOUT_FILENO);
    return SrunWire::make_for(loop, std::move(in), std::move(out), node);
}

} // namespace

HeadConnection::HeadConnection(Loop &loop, NodePlan plan, Calls calls)
    : loop_(loop), plan_(std::move(plan)), calls_(std::move(calls)) {}

HeadConnection::~HeadConnection() { stop(); }

void HeadConnection::start() {
    if (plan_.network != AgentNetwork::tcp)
        wire_ = take_standard_streams(loop_, plan_.node);
    try_next();
}

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
    tcp_since_ = std::chrono::steady_clock::now();
    return true;
}

bool HeadConnection::srun_is_next() const {
    if (!wire_ || !wire_->usable())
        return false;
    return plan_.network == AgentNetwork::srun || std::chrono::steady_clock::now() - tcp_since_ >= patience_;
}

void HeadConnection::try_next() {
    stop();
    if (!head_ && !read_address())
        return retry();
    if (srun_is_next())
        return try_srun();
    if (plan_.network != AgentNetwork::srun)
        return try_tcp();
    last_error_ = "srun's streams have ended";
    retry();
}

void HeadConnection::try_srun() {
    trying_ = "srun's streams";
    shake_hands(wire_->connect(link_calls()), srun_limit);
}

void HeadConnection::try_tcp() {
    const auto &address = head_->addresses[next_address_ % head_->addresses.size()];
    trying_ = "TCP at " + address;
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
        shake_hands(std::make_unique<TcpLink>(loop_, std::move(connecting_), link_calls()), handshake_limit);
    });
}

// The next address; a pause once all were tried.
void HeadConnection::retry() {
    if (link_ && link_->by_srun()) { // TCP has its turn again
        tcp_since_ = std::chrono::steady_clock::now();
        patience_ = next_patience;
    }
    stop();
    if (head_) {
        if (failures_ == 0 || failures_ % 100 == 0)
            calls_.log("no head by " + trying_ + ": " + last_error_);
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

Link::Calls HeadConnection::link_calls() {
    return {[this](const std::string &payload) { take_frame(payload); },
            [this](const std::string &why) {
                last_error_ = why;
                const bool worked = sealer_.has_value();
                sealer_.reset();
                loop_.cancel(timer_);
                tcp_since_ = worked ? std::chrono::steady_clock::now() : tcp_since_;
                // Not from within the link's own call, which would not outlive it. What worked is the first to be tried again.
                timer_ = loop_.after(worked ? first_pause : 0s, [this, worked] { worked ? try_next() : retry(); });
            }};
}

void HeadConnection::shake_hands(std::unique_ptr<Link> link, Duration limit) {
    handshake_.emplace(head_->secret, plan_.node, plan_.attempt);
    link_ = std::move(link);
    timer_ = loop_.after(limit, [this, limit] {
        last_error_ = "no handshake within " + std::to_string(std::chrono::duration_cast<std::chrono::seconds>(limit).count()) + " s";
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
        patience_ = link_->by_srun() ? 0s : next_patience;
        calls_.log("the head is reached by " + trying_);
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

std::string HeadConnection::local_address() const {
    auto address = link_ ? link_->local_address() : "";
    // The training has a network of its own, which the head's addresses tell best.
    for (std::size_t i = 0; head_ && i < head_->addresses.size() && address.empty(); ++i)
        address = own_address_towards(head_->addresses[i]);
    return address;
}

} // namespace trainctl

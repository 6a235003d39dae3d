#include "agent/srun_wire.h"

#include "base/hash.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <unistd.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr std::string_view tag = "tc1 ";
constexpr std::size_t piece_bytes = 540;           // 720 in base64: with the longest node's name and connection a line is whole
constexpr std::size_t most_name_bytes = 255;       // of a node, as of a host
constexpr std::size_t max_unsent_bytes = 32u << 20; // a start of 256 nodes, each with an environment of 90 KiB
// srun reads its input once all tasks are launched, and gives a node up that does not answer after less than this.
constexpr int most_stuck_looks = 30;
constexpr Duration look_pause = 1s; // counted in looks: a suspended job is no stuck one
constexpr int most_reads_at_end = 64;

std::string key_of(std::string_view node, std::string_view connection) {
    return std::string{node}.append(" ").append(connection);
}

std::string_view next_word(std::string_view &text) {
    const auto end = std::min(text.find(' '), text.size());
    const auto word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return word;
}

} // namespace

std::string wire_lines(WireLine::Kind kind, const std::string &node, const std::string &connection, std::string_view bytes) {
    INVARIANT(node.size() <= most_name_bytes);
    const std::string start = std::string{tag}.append(1, static_cast<char>(kind)).append(" ").append(key_of(node, connection));
    std::string out;
    do {
        out.append(start).append(" ").append(to_base64(bytes.substr(0, piece_bytes))).append("\n");
        bytes.remove_prefix(std::min(piece_bytes, bytes.size()));
    } while (!bytes.empty());
    return out;
}

std::optional<WireLine> parse_wire_line(std::string_view line) {
    if (line.size() >= max_wire_line_bytes || line.substr(0, tag.size()) != tag)
        return std::nullopt;
    line.remove_prefix(tag.size());
    const auto kind = next_word(line);
    WireLine out;
    out.node = next_word(line);
    out.connection = next_word(line);
    out.data = line;
    if (kind.size() != 1 || std::string_view{"odc"}.find(kind[0]) == std::string_view::npos || out.node.empty() || out.connection.empty() ||
        out.node.size() > most_name_bytes)
        return std::nullopt;
    out.kind = static_cast<WireLine::Kind>(kind[0]);
    return out;
}

class SrunLink final : public Link {
public:
    SrunLink(std::weak_ptr<SrunWire> wire, std::string node, std::string connection, Calls calls)
        : wire_(std::move(wire)), node_(std::move(node)), connection_(std::move(connection)), calls_(std::move(calls)) {}
    ~SrunLink() override {
        *alive_ = false;
        close();
    }

    void send(std::string_view payload) override {
        const auto wire = wire_.lock();
        if (!wire)
            return;
        if (payload.size() <= max_frame_bytes)
            return wire->write(wire_lines(WireLine::Kind::data, node_, connection_, frame(payload)));
        // Not from within the caller: it may not expect to be told now.
        wire->loop_.post([this, alive = alive_] {
            if (*alive)
                fail("too much to send");
        });
    }
    void allow_large_frames() override { reader_.set_limit(max_frame_bytes); }
    void close() override {
        if (const auto wire = leave())
            wire->write(wire_lines(WireLine::Kind::close, node_, connection_, ""));
    }
    std::string local_address() const override { return ""; }
    bool by_srun() const override { return true; }

    void take(std::string_view base64) {
        const auto bytes = from_base64(base64);
        if (!bytes)
            return fail("a line that is no base64");
        reader_.add(*bytes);
        const auto alive = alive_;
        while (*alive && !wire_.expired()) {
            auto next = reader_.next();
            if (!next)
                return fail(next.error().message);
            if (!*next)
                return;
            const auto call = calls_.on_frame;
            call(std::move(**next));
        }
    }
    void fail(const std::string &why) {
        const auto wire = leave();
        const auto call = calls_.on_close;
        if (wire && call)
            call(why);
    }

private:
    std::shared_ptr<SrunWire> leave() {
        auto wire = wire_.lock();
        wire_.reset();
        if (wire)
            wire->links_.erase(key_of(node_, connection_));
        return wire;
    }

    std::weak_ptr<SrunWire> wire_; // nothing: over
    const std::string node_, connection_;
    Calls calls_;
    FrameReader reader_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true); // a call of ours may destroy us
};

SrunWire::SrunWire(Loop &loop, Fd in, Fd out, Calls calls, std::string node)
    : loop_(loop), in_(std::move(in)), out_(std::move(out)), calls_(std::move(calls)), node_(std::move(node)) {}

SrunWire::~SrunWire() {
    loop_.cancel(timer_);
    for (const auto *fd : {&in_, &out_})
        if (*fd)
            loop_.forget(fd->get());
}

std::shared_ptr<SrunWire> SrunWire::make(Loop &loop, Fd in, Fd out, Calls calls) {
    std::shared_ptr<SrunWire> wire{new SrunWire{loop, std::move(in), std::move(out), std::move(calls), ""}};
    wire->start();
    return wire;
}

std::shared_ptr<SrunWire> SrunWire::make_for(Loop &loop, Fd in, Fd out, std::string node) {
    std::shared_ptr<SrunWire> wire{new SrunWire{loop, std::move(in), std::move(out), {}, std::move(node)}};
    wire->start();
    return wire;
}

void SrunWire::start() {
    set_nonblocking(in_.get());
    set_nonblocking(out_.get());
    loop_.when_readable(in_.get(), [weak = weak_from_this()] {
        if (const auto wire = weak.lock())
            wire->read();
    });
}

std::unique_ptr<Link> SrunWire::connect(Link::Calls calls) {
    const auto connection = random_hex(4);
    auto link = add(node_, connection, std::move(calls));
    write(wire_lines(WireLine::Kind::open, node_, connection, ""));
    return link;
}

std::unique_ptr<Link> SrunWire::add(const std::string &node, const std::string &connection, Link::Calls calls) {
    auto link = std::make_unique<SrunLink>(weak_from_this(), node, connection, std::move(calls));
    links_[key_of(node, connection)] = link.get();
    return link;
}

bool SrunWire::read() {
    if (!in_)
        return false;
    char buffer[1 << 16];
    const auto n = ::read(in_.get(), buffer, sizeof buffer);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        fail(n == 0 ? "srun's stream ended" : std::strerror(errno)); // NOLINT(concurrency-mt-unsafe)
        return false;
    }
    const auto self = shared_from_this();
    std::string_view rest{buffer, static_cast<std::size_t>(n)};
    while (!rest.empty() && in_) {
        const auto end = rest.find('\n');
        if (!skipping_)
            partial_.append(rest.substr(0, end));
        rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
        skipping_ = skipping_ || partial_.size() > 8 * max_wire_line_bytes; // whatever it is, it is none of ours
        if (end == std::string_view::npos)
            break;
        take_line(partial_);
        partial_.clear();
        skipping_ = false;
    }
    return true;
}

void SrunWire::take_line(std::string_view line) {
    const auto parsed = parse_wire_line(line);
    if (!parsed) {
        if (calls_.on_other)
            calls_.on_other(std::string{line});
        return;
    }
    if (!node_.empty() && parsed->node != node_)
        return;
    const auto found = links_.find(key_of(parsed->node, parsed->connection));
    if (found == links_.end()) {
        if (parsed->kind == WireLine::Kind::open && calls_.on_open)
            open(std::string{parsed->node}, std::string{parsed->connection});
        return;
    }
    if (parsed->kind == WireLine::Kind::data)
        found->second->take(parsed->data);
    else if (parsed->kind == WireLine::Kind::close)
        found->second->fail("closed by the other side");
}

void SrunWire::open(const std::string &node, const std::string &connection) {
    calls_.on_open([&](Link::Calls calls) { return add(node, connection, std::move(calls)); });
}

void SrunWire::write(const std::string &lines) {
    if (!out_)
        return;
    unsent_ += lines;
    if (unsent_.size() > max_unsent_bytes)
        return give_up("too much to send");
    flush();
}

// Later: who writes may not expect to be told now.
void SrunWire::give_up(const std::string &why) {
    unsent_.clear();
    loop_.post([weak = weak_from_this(), why] {
        const auto wire = weak.lock();
        if (!wire || !wire->usable())
            return;
        wire->fail(why);
        if (wire->calls_.on_stuck)
            wire->calls_.on_stuck();
    });
}

// A line or a few at a time, so that each write is whole or not at all, whoever else has the pipe.
void SrunWire::flush() {
    std::size_t at = 0;
    while (out_ && at < unsent_.size()) {
        const std::size_t end = unsent_.size() - at <= PIPE_BUF ? unsent_.size() : unsent_.rfind('\n', at + PIPE_BUF - 1) + 1;
        const auto n = ::write(out_.get(), unsent_.data() + at, end - at);
        if (n > 0) {
            at += static_cast<std::size_t>(n);
            stuck_looks_ = 0;
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            return give_up(std::strerror(errno)); // NOLINT(concurrency-mt-unsafe)
        }
    }
    unsent_.erase(0, at);
    if (unsent_.empty() || !out_)
        return loop_.cancel(timer_);
    if (timer_ == 0)
        watch();
    if (!std::exchange(writing_, true))
        loop_.when_writable(out_.get(), [weak = weak_from_this()] {
            const auto wire = weak.lock();
            if (!wire)
                return;
            wire->writing_ = false;
            wire->flush();
        });
}

void SrunWire::watch() {
    timer_ = loop_.after(look_pause, [this] {
        timer_ = 0;
        if (++stuck_looks_ < most_stuck_looks)
            return watch();
        give_up("srun takes nothing");
    });
}

void SrunWire::end(const std::string &why) {
    const auto self = shared_from_this();
    for (int i = 0; i < most_reads_at_end && read(); ++i) {
    }
    fail(why);
}

void SrunWire::fail(const std::string &why) {
    const auto self = shared_from_this();
    loop_.cancel(timer_);
    for (auto *fd : {&in_, &out_})
        if (*fd) {
            loop_.forget(fd->get());
            fd->close();
        }
    while (!links_.empty())
        links_.begin()->second->fail(why);
}

} // namespace trainctl

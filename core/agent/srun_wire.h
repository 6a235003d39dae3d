// srun's standard input and output as the way between head and agents, where TCP has none. Both sides have one SrunWire over
// their ends of the two streams; it carries any number of links. What passes is seen by slurmstepd, and is sealed as on TCP.
//
// srun gives each agent all that the head writes, and mixes what the agents write. So it is lines, each with the node and the
// connection that it belongs to: `tc1 d n1 4f3a9c21 <base64 of a piece of the frames>`; whoever is not meant drops it unread.
#pragma once

#include "agent/link.h"

#include <map>

namespace trainctl {

// slurmstepd passes lines on whole up to this (MAX_MSG_LEN of its io.c, tried); it cuts longer ones, and with
// --unbuffered all, anywhere, and then pieces of several agents are mixed.
inline constexpr std::size_t max_wire_line_bytes = 1024;

struct WireLine {
    enum class Kind : char { open = 'o', data = 'd', close = 'c' };
    Kind kind = Kind::data;
    std::string_view node, connection, data; // data: base64
};
// As many lines as it takes. Pure.
std::string wire_lines(WireLine::Kind kind, const std::string &node, const std::string &connection, std::string_view bytes);
// A line without its newline; nothing where it is none of ours. Pure.
std::optional<WireLine> parse_wire_line(std::string_view line);

class SrunWire : public std::enable_shared_from_this<SrunWire> {
public:
    struct Calls {
        // The head: an agent wants a connection. Without it, lines for other nodes than `node` are dropped.
        std::function<void(const MakeLink &)> on_open = {};
        std::function<void(const std::string &)> on_other = {}; // a line that is none of ours
        std::function<void()> on_stuck = {};                    // srun takes nothing any more: it is over
    };

    static std::shared_ptr<SrunWire> make(Loop &loop, Fd in, Fd out, Calls calls);
    static std::shared_ptr<SrunWire> make_for(Loop &loop, Fd in, Fd out, std::string node); // an agent's end
    ~SrunWire();

    // The agent: a new connection to the head.
    std::unique_ptr<Link> connect(Link::Calls calls);
    bool usable() const { return static_cast<bool>(in_) && static_cast<bool>(out_); }
    // Reads what is there, and tells all links that it is over.
    void end(const std::string &why);

private:
    friend class SrunLink;
    SrunWire(Loop &loop, Fd in, Fd out, Calls calls, std::string node);
    void start();
    bool read(); // whether there was something
    void take_line(std::string_view line);
    void open(const std::string &node, const std::string &connection);
    std::unique_ptr<Link> add(const std::string &node, const std::string &connection, Link::Calls calls);
    void write(const std::string &lines);
    void flush();
    void watch();
    void give_up(const std::string &why);
    void fail(const std::string &why);

    Loop &loop_;
    Fd in_, out_;
    Calls calls_;
    const std::string node_; // an agent's own; the head's: ""
    std::map<std::string, class SrunLink *> links_; // by "<node> <connection>"
    std::string partial_, unsent_;
    bool skipping_ = false, writing_ = false;
    int stuck_looks_ = 0;
    Loop::Timer timer_ = 0;
};

} // namespace trainctl

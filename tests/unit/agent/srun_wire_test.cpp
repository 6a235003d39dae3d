#include "agent/srun_wire.h"

#include "agent/head_step.h"
#include "base/hash.h"
#include "base/text.h"

#include <algorithm>
#include <doctest/doctest.h>
#include <unistd.h>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

using Kind = WireLine::Kind;

// Both ends of srun's two streams, as pipes. `agent` speaks for n1.
struct Ends {
    Ends() {
        auto to = make_pipe(), from = make_pipe();
        REQUIRE(to);
        REQUIRE(from);
        agent = SrunWire::make_for(loop, std::move(to->read_end), Fd{::dup(from->write_end.get())}, "n1");
        SrunWire::Calls calls;
        calls.on_open = [this](const MakeLink &make) { taken(make); };
        calls.on_other = [this](const std::string &line) { others.push_back(line); };
        calls.on_stuck = [this] { stuck = true; };
        from_agents = Fd{::dup(from->write_end.get())};
        to_agents = Fd{::dup(to->write_end.get())};
        head = SrunWire::make(loop, std::move(from->read_end), std::move(to->write_end), calls);
        agent_link = agent->connect({[this](const std::string &payload) { agent_got.push_back(payload); },
                                     [this](const std::string &why) { agent_closed = why; }});
    }
    void taken(const MakeLink &make) {
        head_links.push_back(make({[this](const std::string &payload) { head_got.push_back(payload); },
                                   [this](const std::string &why) { head_closed = why; }}));
        head_links.back()->allow_large_frames();
    }
    // One stage after the other, each until it is true.
    bool run(const std::vector<std::function<bool()>> &stages) {
        const Instant end = std::chrono::steady_clock::now() + 30s;
        std::size_t done = 0;
        const std::function<void()> look = [&] {
            while (done < stages.size() && stages[done]())
                ++done;
            if (done == stages.size() || std::chrono::steady_clock::now() >= end)
                return loop.stop();
            loop.after(1ms, look);
        };
        loop.post(look);
        loop.run();
        return done == stages.size();
    }
    bool met() {
        if (!head_links.empty())
            agent_link->allow_large_frames();
        return !head_links.empty();
    }
    static void put(const Fd &fd, const std::string &text) { REQUIRE(::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size())); }

    Loop loop;
    Fd from_agents, to_agents;
    std::shared_ptr<SrunWire> head, agent;
    std::vector<std::string> others, head_got, agent_got;
    std::string head_closed, agent_closed;
    bool stuck = false;
    std::vector<std::unique_ptr<Link>> head_links;
    std::unique_ptr<Link> agent_link;
};

} // namespace

TEST_CASE("srun wire: no line is longer than slurmstepd passes on, and what went in comes out") {
    for (const std::size_t size : {0u, 1u, 539u, 540u, 541u, 5000u}) {
        CAPTURE(size);
        std::string bytes(size, '\xe5'), again;
        for (std::size_t i = 0; i < size; ++i)
            bytes[i] = static_cast<char>(i * 31);
        const auto lines = split(wire_lines(Kind::data, std::string(255, 'n'), "0123abcd", bytes), '\n');
        CHECK(lines.back().empty());
        for (std::size_t i = 0; i + 1 < lines.size(); ++i) {
            CHECK(lines[i].size() < max_wire_line_bytes);
            const auto line = parse_wire_line(lines[i]);
            REQUIRE(line);
            CHECK(line->kind == Kind::data);
            CHECK(line->node == std::string(255, 'n'));
            CHECK(line->connection == "0123abcd");
            again += from_base64(line->data).value_or("?");
        }
        CHECK(again == bytes);
    }
}

TEST_CASE("srun wire: a line of anybody else is none of ours") {
    for (const std::string text : {"", "tc1", "tc1 ", "tc1 d", "tc1 d n1", "tc1 x n1 ab QQ==", "tc1 dd n1 ab QQ==", "tc1 d  ab QQ==", "srun: error: n1: task 0: Killed",
                                   "xtc1 d n1 ab QQ==", "tc2 d n1 ab QQ=="}) {
        CAPTURE(text);
        CHECK(!parse_wire_line(text));
    }
    CHECK(!parse_wire_line("tc1 d n1 ab " + std::string(max_wire_line_bytes, 'A')));
    CHECK(parse_wire_line("tc1 c n1 ab "));
}

TEST_CASE("srun wire: frames of any size go both ways, and a close is heard") {
    Ends it;
    const std::string large(max_frame_bytes, 'x');
    CHECK(it.run({[&] { return it.met(); },
                  [&] {
                      it.agent_link->send(large);
                      it.agent_link->send("small");
                      for (const auto &payload : {std::string{"order"}, std::string{}, large})
                          it.head_links[0]->send(payload);
                      return true;
                  },
                  [&] { return it.head_got.size() == 2 && it.agent_got.size() == 3; },
                  [&] {
                      it.head_links[0]->close();
                      return true;
                  },
                  [&] { return !it.agent_closed.empty(); }}));
    CHECK(it.head_got == std::vector<std::string>{large, "small"});
    CHECK(it.agent_got == std::vector<std::string>{"order", "", large});
    CHECK(it.agent_closed == "closed by the other side");
    CHECK(it.head_closed.empty()); // not for what we close ourselves
    CHECK(!it.stuck);
}

TEST_CASE("srun wire: lines of others, of nobody and of no use disturb no connection") {
    Ends it;
    CHECK(it.run({[&] { return it.met(); },
                  [&] {
                      Ends::put(it.to_agents, wire_lines(Kind::data, "n2", "00000000", frame("for n2")) + "noise\n" +
                                                  wire_lines(Kind::data, "n1", "00000000", frame("for an agent that was here before")));
                      Ends::put(it.from_agents, "slurmstepd: error: something\n" + std::string(20000, 'y') + "\n" +
                                                    wire_lines(Kind::data, "n9", "00000000", frame("of a connection that nobody opened")));
                      it.head_links[0]->send("order");
                      it.agent_link->send("report");
                      return true;
                  },
                  [&] { return it.head_got.size() == 1 && it.agent_got.size() == 1; }}));
    CHECK(it.agent_got == std::vector<std::string>{"order"});
    CHECK(it.head_got == std::vector<std::string>{"report"});
    REQUIRE(!it.others.empty());
    CHECK(it.others[0] == "slurmstepd: error: something");
    CHECK(it.head_links.size() == 1);
    CHECK(it.head_closed.empty());
    CHECK(it.agent_closed.empty());
}

TEST_CASE("srun wire: what is no base64 or no frame ends its own connection only") {
    Ends it;
    std::unique_ptr<Link> second;
    std::string second_closed;
    CHECK(it.run({[&] { return it.met(); },
                  [&] {
                      second = it.agent->connect({[](const std::string &) {}, [&](const std::string &why) { second_closed = why; }});
                      return true;
                  },
                  [&] { return it.head_links.size() == 2; },
                  [&] {
                      it.head_links[1].reset(); // which closes it
                      it.head_links.pop_back();
                      return true;
                  },
                  [&] { return !second_closed.empty(); },
                  [&] {
                      second = it.agent->connect({[](const std::string &) {}, [&](const std::string &why) { second_closed = why; }});
                      second->send(std::string(max_frame_bytes, 'x')); // before any handshake
                      return true;
                  },
                  [&] { return it.head_links.size() == 2; },
                  [&] {
                      it.head_links[0]->send("order");
                      return true;
                  },
                  [&] { return it.agent_got.size() == 1; }}));
    CHECK(it.agent_closed.empty());
}

TEST_CASE("srun wire: the end of a stream ends all connections, and says so once") {
    Ends it;
    CHECK(it.run({[&] { return it.met(); },
                  [&] {
                      it.agent->end("gone");
                      it.from_agents.close();
                      return true;
                  },
                  [&] { return !it.head_closed.empty(); }}));
    CHECK(it.agent_closed == "gone");
    CHECK(it.head_closed == "srun's stream ended");
    CHECK(!it.head->usable());
    it.agent_link->send("into the void");
    it.head_links[0]->send("into the void");
}

TEST_CASE("srun wire: an srun that takes nothing never blocks the head, and is given up with what waits for it") {
    Loop loop;
    auto to = make_pipe(), from = make_pipe();
    REQUIRE(to);
    REQUIRE(from);
    std::unique_ptr<Link> link;
    std::string closed;
    bool stuck = false;
    SrunWire::Calls calls;
    calls.on_open = [&](const MakeLink &make) { link = make({[](const std::string &) {}, [&](const std::string &why) { closed = why; }}); };
    calls.on_stuck = [&] {
        stuck = true;
        loop.stop();
    };
    const auto head = SrunWire::make(loop, std::move(from->read_end), std::move(to->write_end), calls);
    Ends::put(from->write_end, wire_lines(Kind::open, "n1", "00000000", ""));
    const std::function<void()> send = [&] {
        if (link)
            link->send(std::string(max_frame_bytes, 'x'));
        if (!stuck)
            loop.after(0s, send);
    };
    loop.post(send);
    loop.after(60s, [&] { loop.stop(); });
    loop.run();
    CHECK(stuck);
    CHECK(closed == "too much to send");
    CHECK(!head->usable());
}

TEST_CASE("srun wire: the agents' srun has its input open only where it is the wire") {
    for (const auto network : {AgentNetwork::automatic, AgentNetwork::tcp, AgentNetwork::srun}) {
        CAPTURE(to_string(network));
        HeadPlan plan;
        plan.tools.srun = "/usr/bin/srun";
        plan.nodes = {"n1", "n2"};
        plan.info.agent_network = network;
        const auto command = step_command(plan, "/agent");
        const auto has = [&](const std::string &word) { return std::find(command.begin(), command.end(), word) != command.end(); };
        CHECK(has("--input=none") == (network == AgentNetwork::tcp));
        CHECK(has("--input=all") == (network != AgentNetwork::tcp));
        CHECK(has(to_string(network)));
        CHECK(!has("--unbuffered")); // lines of agents would be mixed
    }
    const auto environment = step_environment({{"SLURM_UNBUFFEREDIO", "1"}, {"SLURM_LABELIO", "1"}, {"SLURM_STDINMODE", "none"}, {"SLURM_JOB_ID", "1"}}, {});
    CHECK(environment == Environment{{"SLURM_JOB_ID", "1"}});
}

#include "agent/messages.h"
#include "agent/wire.h"

#include "base/hash.h"

#include <doctest/doctest.h>

using namespace trainctl;

namespace {

struct Pair {
    Sealer head, agent;
};

Pair shake(const std::string &secret = "s") {
    HeadHandshake head{secret, {1}};
    AgentHandshake agent{secret, "n1", {1}};
    auto answer = agent.answer(head.challenge());
    REQUIRE(answer);
    auto welcome = head.answer(*answer);
    REQUIRE(welcome);
    CHECK(welcome->node == "n1");
    auto sealer = agent.accept(welcome->reply);
    REQUIRE(sealer);
    return {welcome->sealer, *sealer};
}

} // namespace

TEST_CASE("wire: frames come out as they went in, however they are cut") {
    const std::string stream = frame("hello") + frame("") + frame(std::string(3000, 'x'));
    for (const std::size_t piece : {1u, 3u, 7u, 5000u}) {
        CAPTURE(piece);
        FrameReader reader;
        std::vector<std::string> got;
        for (std::size_t at = 0; at < stream.size(); at += piece) {
            reader.add(std::string_view{stream}.substr(at, piece));
            for (;;) {
                auto next = reader.next();
                REQUIRE(next);
                if (!*next)
                    break;
                got.push_back(**next);
            }
        }
        REQUIRE(got.size() == 3);
        CHECK(got[0] == "hello");
        CHECK(got[1].empty());
        CHECK(got[2].size() == 3000);
    }
}

TEST_CASE("wire: a frame above the limit is an error before its bytes are kept") {
    FrameReader reader;
    reader.add(frame(std::string(max_handshake_bytes, 'x')));
    CHECK(reader.next().ok());
    reader.add(std::string_view{"\x00\x00\x10\x01", 4});
    CHECK(!reader.next().ok());
    FrameReader other{max_frame_bytes};
    other.add(std::string_view{"\xff\xff\xff\xff", 4});
    CHECK(!other.next().ok());
    FrameReader http;
    http.add("GET / HTTP/1.1\r\n\r\n");
    CHECK(!http.next().ok());
}

TEST_CASE("wire: both sides prove the secret, and payloads are sealed both ways") {
    auto pair = shake();
    for (int i = 0; i < 3; ++i) {
        const auto there = pair.head.open(pair.agent.seal("report " + std::to_string(i)));
        REQUIRE(there);
        CHECK(*there == "report " + std::to_string(i));
        const auto back = pair.agent.open(pair.head.seal("order"));
        REQUIRE(back);
        CHECK(*back == "order");
    }
    CHECK(pair.agent.seal("token=hunter2").find("hunter2") == std::string::npos);
}

TEST_CASE("wire: nobody comes in without the secret of this attempt") {
    const HeadHandshake head{"right", {2}};
    struct Row {
        const char *what;
        std::string secret;
        int attempt;
    };
    for (const auto &row : {Row{"another secret", "wrong", 2}, Row{"no secret", "", 2}, Row{"another attempt", "right", 1}}) {
        CAPTURE(row.what);
        AgentHandshake agent{row.secret, "n1", {row.attempt}};
        const auto answer = agent.answer(head.challenge());
        REQUIRE(answer);
        const auto welcome = head.answer(*answer);
        REQUIRE(!welcome);
        CHECK(welcome.error().kind == ErrorKind::denied);
    }
    for (const char *text : {"", "{}", "[1]", "\xff\xfe", R"({"v":2,"node":"n1","challenge":"x","proof":"y"})",
                             R"({"v":1,"node":7,"challenge":[],"proof":{}})"}) {
        CAPTURE(text);
        CHECK(!head.answer(text).ok());
    }
}

TEST_CASE("wire: an answer of one connection opens no other, and a mirror is no head") {
    const HeadHandshake first{"s", {1}}, second{"s", {1}};
    AgentHandshake agent{"s", "n1", {1}};
    const auto answer = agent.answer(first.challenge());
    REQUIRE(answer);
    CHECK(!second.answer(*answer).ok());
    const auto proof = Json::parse(*answer).at("proof");
    CHECK(!agent.accept(dump_json(Json{{"proof", proof}})).ok());
    CHECK(!agent.accept("{}").ok());
    const HeadHandshake impostor{"other", {1}};
    AgentHandshake honest{"s", "n1", {1}};
    REQUIRE(honest.answer(impostor.challenge()).ok());
    CHECK(!honest.accept(dump_json(Json{{"proof", hmac_hex("other", "head")}})).ok());
}

TEST_CASE("wire: what was changed, repeated, cut or sent back does not open") {
    auto pair = shake();
    std::string sealed = pair.agent.seal("one");
    const std::string good = sealed;
    sealed[5] = static_cast<char>(sealed[5] ^ 1);
    CHECK(!pair.head.open(sealed).ok());
    CHECK(!pair.head.open(good.substr(0, 10)).ok());
    CHECK(!pair.agent.open(good).ok());
    CHECK(pair.head.open(good).ok());
    CHECK(!pair.head.open(good).ok());
    auto other = shake();
    CHECK(!other.head.open(pair.agent.seal("two")).ok());
}

TEST_CASE("wire: messages survive the way, and junk is an error") {
    Report report;
    report.sequence = 7;
    report.setup = SetupState::failed;
    report.setup_text = "bad \xff byte";
    report.exits.push_back({});
    report.exits[0].last_lines = {"Traceback", "ValueError: \"x\""};
    report.step = 12;
    report.loss = 1.25;
    const auto again = report_from(dump_json(to_json(report)));
    REQUIRE(again);
    CHECK(again->setup == SetupState::failed);
    CHECK(again->exits.at(0).last_lines == report.exits[0].last_lines);
    CHECK(again->step == 12);
    CHECK(again->loss == 1.25);
    CHECK(!again->rate);
    CHECK(again->sight.generation == 0); // as from an agent that knows of none
    CHECK(!to_json(report).contains("sight"));
    report.sight = {"", 4, 0, true, {{"oom-kill", "n1", "text", {}, 1.5}}};
    const auto seen = report_from(dump_json(to_json(report)));
    REQUIRE(seen);
    CHECK(seen->sight.generation == 4);
    CHECK(seen->sight.oom_kills == 0);
    CHECK(seen->sight.looking);
    REQUIRE(seen->sight.observations.size() == 1);
    CHECK(seen->sight.observations[0].what == "oom-kill");
    CHECK(seen->sight.observations[0].at == 1.5);
    report.sight.oom_kills.reset(); // it could not look
    CHECK(!report_from(dump_json(to_json(report)))->sight.oom_kills);

    Order order;
    order.lease_ms = 29000;
    order.config = NodeConfig{};
    order.config->setup = "module load x\n";
    order.start = StartSpec{};
    order.start->command = {"python3", "train.py", "a b"};
    order.start->environment = {{"TOKEN", "x\ny"}};
    const auto order_again = order_from(dump_json(to_json(order)));
    REQUIRE(order_again);
    CHECK(order_again->config->setup == order.config->setup);
    CHECK(order_again->start->command == order.start->command);
    CHECK(order_again->start->environment == order.start->environment);

    for (const char *text : {"", "{}", "[]", "7", R"({"sequence":"x"})", R"({"answers":-1,"config":3})", R"({"sight":7})"}) {
        CAPTURE(text);
        CHECK(!report_from(text).ok());
        CHECK(!order_from(text).ok());
    }
}

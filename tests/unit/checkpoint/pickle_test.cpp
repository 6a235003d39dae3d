#include "checkpoint/pickle.h"

#include <doctest/doctest.h>

using namespace trainctl;
using namespace std::string_literals;

namespace {

std::optional<Pickle> parsed(std::string_view bytes) {
    std::string problem;
    return Pickle::parse(bytes, problem);
}

} // namespace

TEST_CASE("pickle: values, names and attributes come out as data") {
    // {"step": 300, "big": 2**40, "args": Namespace(lr=None, sizes=(1, 2))} of protocol 4, by hand.
    const auto text = "\x80\x04}(\x8c\x04stepM\x2c\x01\x8c\x03""big\x8a\x06\0\0\0\0\0\x01\x8c\x04""args\x8c\x08""argparse\x8c\x09Namespace\x93)\x81}(\x8c\x02lrN\x8c\x05sizesK\x01K\x02\x86ubu."s;
    const auto pickle = parsed(text);
    REQUIRE(pickle);
    CHECK(pickle->integer(*pickle->member(pickle->root(), "step")) == 300);
    CHECK(pickle->integer(*pickle->member(pickle->root(), "big")) == std::int64_t{1} << 40);
    const auto args = *pickle->member(pickle->root(), "args");
    CHECK(pickle->text(args) == "Namespace");
    CHECK(pickle->kind(*pickle->member(args, "lr")) == Pickle::Kind::none);
    CHECK(pickle->items(*pickle->member(args, "sizes")).size() == 2);
    CHECK(!pickle->member(args, "none"));
    CHECK(!pickle->member(pickle->root(), "sizes"));
    for (std::size_t size = 0; size < text.size(); ++size)
        CHECK(!parsed(std::string_view{text}.substr(0, size)));
}

TEST_CASE("pickle: nothing that it asks for is called, and values that contain themselves are read") {
    const auto call = parsed("cos\nsystem\n(S'rm -rf /'\ntR.");
    REQUIRE(call);
    CHECK(call->kind(call->root()) == Pickle::Kind::object);
    CHECK(call->text(call->root()) == "os\nsystem");
    const auto itself = parsed("]q\x01h\x01""a.");
    REQUIRE(itself);
    CHECK(itself->items(itself->root()).size() == 1);
}

TEST_CASE("pickle: damage of any kind is refused, and never more than was given is read or kept") {
    for (const auto &text : {""s, "."s, "N"s, "NN."s, "("s, "(."s, "t."s, "h\x01."s, "a."s, "\xff."s, "X\xff\xff\xff\xffx."s, "\x8d\xff\xff\xff\xff\xff\xff\xff\xff."s,
                             "\x95\xff\xff\xff\xff\xff\xff\xff\x7fN."s, "R."s, "b."s, "\x93."s, "g12x\n."s, "gg."s, "\x94."s, "\x87."s, "N.N"s})
        CHECK(!parsed(text));
    std::string problem;
    CHECK(!Pickle::parse(std::string(100, 'N'), {.values = 50}, problem));
    CHECK(problem == "it has more than 50 values");
    // Any bytes, seeded.
    std::uint32_t seed = 7;
    for (int round = 0; round < 20'000; ++round) {
        std::string bytes;
        for (int i = 0; i < 24; ++i) {
            seed = seed * 1664525 + 1013904223;
            bytes += static_cast<char>(seed >> 24);
        }
        (void)parsed(bytes + ".");
    }
}

// torch.distributed.checkpoint's .metadata, whole, cut and damaged.
#include "checkpoint/dcp_metadata.h"

#include "unit/checkpoint/saved.h"

using namespace trainctl;
using namespace std::string_literals;

namespace {

DcpPromise promised(const std::string &text, std::size_t *most = nullptr) {
    return read_dcp_metadata([&](std::uint64_t offset, std::size_t length) {
        if (most)
            *most = std::max(*most, length);
        return offset < text.size() ? text.substr(offset, length) : "";
    }, text.size());
}

std::string text_at(const std::string &text) { return "\x8c" + std::string(1, static_cast<char>(text.size())) + text + "\x94"; }

// An item by hand, of protocol 4: a class that is already known, made and filled.
std::string item(const std::string &inside) { return "\x80\x04}(" + inside + "u."; }

} // namespace

TEST_CASE("dcp metadata: each file with the end of its last item, whatever the protocol, in pieces of bounded size") {
    const auto folder = saves().folder("metadata");
    REQUIRE(folder.files.contains("4"));
    for (const auto &[protocol, text] : folder.files) {
        CAPTURE(protocol);
        std::size_t most = 0;
        const auto promise = promised(text, &most);
        if (protocol < "2") { // nobody writes these
            CHECK(promise.problem.find("is no opcode") != std::string::npos);
            continue;
        }
        CHECK(text.size() > 1u << 20);
        CHECK(most <= 1u << 20);
        CHECK(promise.problem == "");
        REQUIRE(promise.ends.size() == 4);
        CHECK(promise.ends.at("__0_0.distcp") == 29'998'000);
        CHECK(promise.ends.at("__2_0.distcp") == 30'000'000);
        CHECK(promise.ends.at("__7_0.distcp") == (std::uint64_t{5} << 40) + 3);
    }
}

TEST_CASE("dcp metadata: cut anywhere, or with more behind its end, it is refused") {
    const auto whole = saves().folder("dcp").files.at("step-7/.metadata");
    CHECK(promised(whole).problem == "");
    for (std::size_t size = 0; size < whole.size(); ++size)
        REQUIRE(promised(whole.substr(0, size)).problem != "");
    CHECK(promised(whole + ".").problem == ".metadata has more behind its end");
    const auto large = saves().folder("metadata").files.at("4");
    for (std::size_t size = 1; size < large.size(); size += 77'777)
        REQUIRE(promised(large.substr(0, size)).problem != "");
    REQUIRE(promised(large.substr(0, large.size() - 1)).problem != "");
}

TEST_CASE("dcp metadata: an item that does not say where it is stored is no promise") {
    const auto path = text_at("relative_path") + text_at("__0_0.distcp"), offset = text_at("offset"), length = text_at("length");
    const auto good = promised(item(path + offset + "K\x05" + length + "M\x10\x01"));
    CHECK(good.problem == "");
    CHECK(good.ends == std::map<std::string, std::uint64_t>{{"__0_0.distcp", 277}});
    for (const auto &inside : {path, path + offset, path + offset + "K\x05", path + offset + "K\x05" + length, path + length + "K\x05", path + offset + "N" + length + "K\x05",
                               path + offset + "J\xff\xff\xff\xff" + length + "K\x05", path + offset + "\x8a\x01\x80" + length + "K\x05",
                               path + offset + "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f" + length + "K\x05", path + offset + "\x8a\x09" "123456789" + length + "K\x05",
                               text_at("relative_path") + "K\x05" + offset + "K\x05" + length + "K\x05", text_at("relative_path") + text_at("") + offset + "K\x05" + length + "K\x05", ""s}) {
        CAPTURE(inside);
        CHECK(promised(item(inside)).problem != "");
    }
    // A text that is longer than the file, and a size of all that there is.
    CHECK(promised("\x80\x04X\xff\xff\xff\xffx.").problem == ".metadata is cut short");
    CHECK(promised("\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffx.").problem == ".metadata is cut short");
}

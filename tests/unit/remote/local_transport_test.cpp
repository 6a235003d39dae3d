#include "remote/transport.h"
#include "remote/upload.h"

#include "base/files.h"
#include "base/hash.h"
#include "support/fake_transport.h"
#include "support/temp_dir.h"

#include <doctest/doctest.h>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

std::function<Result<std::string>()> pieces(std::size_t count, std::size_t size) {
    return [count, size]() mutable -> Result<std::string> {
        return count-- > 0 ? std::string(size, 'x') : std::string{};
    };
}

std::string content(const std::string &path) {
    auto text = PosixFiles{}.read(path);
    REQUIRE(text);
    return text->value_or("(none)");
}

} // namespace

TEST_CASE("local transport: output, exit code, environment and streamed input") {
    LocalTransport local{{{"TRAINCTL_TEST", "a b"}}};
    RemoteCommand command{.line = "echo \"$TRAINCTL_TEST\"; cat | wc -c; exit 4", .input = "12345"};
    command.more_input = pieces(3, 10);
    const auto result = local.run(command);
    REQUIRE(result);
    CHECK(result->exit_code == 4);
    CHECK(result->out == "a b\n35\n");
    CHECK(local.name() == "local");
}

TEST_CASE("local transport: endless input is taken no faster than the command reads") {
    std::size_t asked = 0;
    RemoteCommand command{.line = "exec tail -f /dev/null", .input = ""};
    command.more_input = [&]() -> Result<std::string> { return ++asked, std::string(1u << 16, 'x'); };
    command.deadline = 200ms;
    const auto result = LocalTransport{}.run(command);
    REQUIRE(!result);
    CHECK(result.error().kind == ErrorKind::timeout);
    CHECK(asked < 10);
}

TEST_CASE("local transport: a command that reads no further is no error, a failing source is") {
    RemoteCommand command{.line = "head -c 3; exec <&-; echo done", .input = ""};
    command.more_input = pieces(100, 1u << 16);
    auto result = LocalTransport{}.run(command);
    REQUIRE(result);
    CHECK(result->out == "xxxdone\n");
    command.more_input = []() -> Result<std::string> { return Error{ErrorKind::io, "disk on fire", "", ""}; };
    command.line = "cat";
    result = LocalTransport{}.run(command);
    REQUIRE(!result);
    CHECK(result.error().message == "disk on fire");
}

TEST_CASE("upload: a stream becomes a whole file in a new folder, with and without a known hash") {
    TempDir temp;
    LocalTransport local;
    const std::string path = temp / "a 'b/c\nd/file";
    REQUIRE(upload(local, {.path = path, .more_input = pieces(10, 100'000)}));
    CHECK(content(path) == std::string(1'000'000, 'x'));
    REQUIRE(upload(local, {.path = path, .more_input = pieces(1, 5), .sha256 = sha256_hex("xxxxx")}));
    CHECK(content(path) == "xxxxx");
    const auto left = PosixFiles{}.list(parent_path(path));
    REQUIRE(left);
    CHECK(*left == std::vector<std::string>{"file"});
}

TEST_CASE("upload: another content than promised, or a source that fails, leaves the old file and no rest") {
    TempDir temp;
    LocalTransport local;
    const std::string path = temp / "file";
    REQUIRE(PosixFiles{}.write(path, "old"));
    const auto wrong = upload(local, {.path = path, .more_input = pieces(1, 5), .sha256 = sha256_hex("other")});
    REQUIRE(!wrong);
    CHECK(wrong.error().message.find("not what was sent") != std::string::npos);
    CHECK(content(path) == "old");
    const auto left = PosixFiles{}.list(temp.path());
    REQUIRE(left);
    CHECK(*left == std::vector<std::string>{"file"});
    int calls = 0;
    const auto broken = upload(local, {.path = path, .more_input = [&]() -> Result<std::string> {
                                           if (++calls > 2)
                                               return Error{ErrorKind::io, "gone", "", ""};
                                           return std::string{"half"};
                                       }});
    REQUIRE(!broken);
    CHECK(content(path) == "old");
}

TEST_CASE("upload: a place that can't be written is an error with a hint") {
    TempDir temp;
    REQUIRE(PosixFiles{}.write(temp / "file", ""));
    LocalTransport local;
    const auto result = upload(local, {.path = temp / "file/below", .more_input = pieces(1, 1)});
    REQUIRE(!result);
    CHECK(result.error().message.find("cannot write") != std::string::npos);
    const auto full = upload(local, {.path = "/dev/full/x", .more_input = pieces(1, 1)});
    CHECK(!full);
}

TEST_CASE("upload: whichever command loses its answer, nothing half is ever published") {
    for (int n = 1; n <= 2; ++n)
        for (const bool before : {true, false}) {
            CAPTURE(n);
            CAPTURE(before);
            TempDir temp;
            LocalTransport local;
            FakeTransport lossy;
            lossy.on("", [&](const std::string &line, const std::string &input) {
                auto result = local.run({.line = line, .input = input});
                REQUIRE(result);
                return *result;
            });
            before ? lossy.lose_before(n) : lossy.lose_after(n);
            const auto result = upload(lossy, {.path = temp / "file", .more_input = pieces(2, 10)});
            REQUIRE(!result);
            CHECK(result.error().kind == ErrorKind::unreachable);
            CHECK(content(temp / "file") == (n == 2 && !before ? std::string(20, 'x') : "(none)"));
        }
}

TEST_CASE("shell_path: homes are the remote user's, all else is quoted") {
    CHECK(shell_path("~/a b") == "\"$HOME\"/'a b'");
    CHECK(shell_path("$HOME/runs") == "\"$HOME\"/runs");
    CHECK(shell_path("~") == "\"$HOME\"");
    CHECK(shell_path("/x/$(id)") == "'/x/$(id)'");
    CHECK(shell_path("-rf") == "./-rf");
}

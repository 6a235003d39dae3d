#include "remote/ssh_transport.h"

#include "base/files.h"
#include "base/text.h"
#include "remote/upload.h"
#include "support/temp_dir.h"
#include "support/test_sshd.h"

#include <atomic>
#include <csignal>
#include <doctest/doctest.h>
#include <sys/resource.h>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

struct SshFixture {
    TempDir temp;
    std::optional<TestSshd> sshd = TestSshd::start(temp.path());

    SshTransport transport() { return SshTransport{options()}; }
    SshOptions options() {
        SshOptions out;
        out.host = "sandbox";
        out.config_path = sshd->config();
        return out;
    }
};

bool has(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

CommandResult must(Result<CommandResult> result) {
    REQUIRE_MESSAGE(result, (result ? "" : result.error().text()));
    return *std::move(result);
}

Error must_fail(const Result<CommandResult> &result, ErrorKind kind) {
    REQUIRE(!result);
    CAPTURE(result.error().text());
    CHECK(result.error().kind == kind);
    return result.error();
}

Duration since(Instant begin) {
    return std::chrono::steady_clock::now() - begin;
}

} // namespace

TEST_CASE_FIXTURE(SshFixture, "ssh: exit codes, signals, streams, and one connection for all commands") {
    if (!sshd)
        return;
    auto ssh = transport();
    auto result = must(ssh.run({.line = "cat; echo err >&2; exit 3", .input = "hello"}));
    CHECK(result.exit_code == 3);
    CHECK(result.out == "hello");
    CHECK(result.err == "err\n");
    CHECK(must(ssh.run({.line = "kill -TERM $$", .input = ""})).exit_code == 128 + SIGTERM);
    CHECK(must(ssh.run({.line = "kill -KILL $$", .input = ""})).exit_code == 128 + SIGKILL);
    CHECK(must(ssh.run({.line = "printf '%s|' 'a\\b' '!!' 'it'\\''s' '\n'", .input = ""})).out == "a\\b|!!|it's|\n|");
    RemoteCommand bounded{.line = "head -c 100000 /dev/zero", .input = ""};
    bounded.max_output_bytes = 10;
    result = must(ssh.run(bounded));
    CHECK(result.out.size() == 10);
    CHECK(result.truncated);
    CHECK(sshd->connections() == 1);
    CHECK(ssh.name() == sshd->user() + "@127.0.0.1:" + std::to_string(sshd->port()));
}

TEST_CASE_FIXTURE(SshFixture, "ssh: 50 MB each way, whole and in small pieces") {
    if (!sshd)
        return;
    auto ssh = transport();
    constexpr std::size_t count = 800, size = 1u << 16;
    std::size_t sent = 0, received = 0, largest = 0;
    RemoteCommand up{.line = "sha256sum", .input = ""};
    up.more_input = [&]() -> Result<std::string> { return sent++ < count ? std::string(size, 'x') : std::string{}; };
    must(ssh.run({.line = "head -c 52428800 /dev/zero | tr '\\0' x | sha256sum > " + (temp / "sum"), .input = ""}));
    CHECK(must(ssh.run(up)).out == read_text(temp / "sum"));
    RemoteCommand down{.line = "head -c 52428800 /dev/zero", .input = ""};
    down.on_output = [&](std::string_view piece) {
        received += piece.size();
        largest = std::max(largest, piece.size());
        return true;
    };
    must(ssh.run(down));
    CHECK(received == 52428800);
    CHECK(largest <= 1u << 16);
}

TEST_CASE_FIXTURE(SshFixture, "ssh: input waits for the other side's window, and the deadline ends it") {
    if (!sshd)
        return;
    auto ssh = transport();
    std::size_t asked = 0;
    RemoteCommand command{.line = "echo $$ > " + (temp / "pid") + "; exec tail -f /dev/null", .input = ""};
    command.more_input = [&]() -> Result<std::string> { return ++asked, std::string(1u << 16, 'x'); };
    command.deadline = 5s; // its shell must have begun by then
    must_fail(ssh.run(command), ErrorKind::timeout);
    CHECK(asked > 1);
    CHECK(asked < 128); // 8 MiB; sshd's window is 2 MiB
    const auto pid = std::stoi(read_text(temp / "pid"));
    const auto begin = std::chrono::steady_clock::now();
    while (::kill(pid, 0) == 0 && since(begin) < 10s)
        must(ssh.run({.line = "true", .input = ""}));
    CHECK(::kill(pid, 0) != 0); // the command is gone too
}

TEST_CASE_FIXTURE(SshFixture, "ssh: a command that reads no input, or leaves a child with its output") {
    if (!sshd)
        return;
    auto ssh = transport();
    RemoteCommand command{.line = "head -c 3; exec <&-; echo done", .input = ""};
    command.more_input = [n = 200]() mutable -> Result<std::string> { return n-- > 0 ? std::string(1u << 16, 'x') : std::string{}; };
    CHECK(must(ssh.run(command)).out == "xxxdone\n");
    const auto begin = std::chrono::steady_clock::now();
    const auto result = must(ssh.run({.line = "tail -f /dev/null & echo $!; exit 5", .input = ""}));
    CHECK(result.exit_code == 5);
    CHECK(since(begin) < 10s);
    CHECK(::kill(std::stoi(result.out), SIGKILL) == 0);
    CHECK(must(ssh.run({.line = "echo on", .input = ""})).out == "on\n");
    CHECK(sshd->connections() == 1);
}

TEST_CASE_FIXTURE(SshFixture, "ssh: a link cut in the middle is unreachable at once; the next command connects anew") {
    if (!sshd)
        return;
    auto ssh = transport();
    RemoteCommand command{.line = "echo started; exec tail -f /dev/null", .input = ""};
    Instant cut{};
    command.on_output = [&](std::string_view) {
        for (const pid_t child : sshd->children())
            ::kill(child, SIGKILL);
        cut = std::chrono::steady_clock::now();
        return true;
    };
    must_fail(ssh.run(command), ErrorKind::unreachable);
    CHECK(since(cut) < 2s);
    CHECK(must(ssh.run({.line = "echo again", .input = ""})).out == "again\n");
    // Cut between two commands: nothing was asked for, so it is opened anew without a word.
    for (const pid_t child : sshd->children())
        ::kill(child, SIGKILL);
    CHECK(must(ssh.run({.line = "echo third", .input = ""})).out == "third\n");
    CHECK(sshd->connections() == 3);
}

TEST_CASE_FIXTURE(SshFixture, "ssh: a peer that falls silent is found dead") {
    if (!sshd)
        return;
    auto slow = options();
    slow.keepalive_interval = 200ms;
    SshTransport ssh{slow};
    CHECK(must(ssh.run({.line = "tail -f /dev/null & exec timeout 1 tail --pid=$! -f /dev/null; kill $!", .input = ""})).exit_code == 124);
    RemoteCommand command{.line = "echo started; exec tail -f /dev/null", .input = ""};
    std::vector<pid_t> stopped;
    command.on_output = [&](std::string_view) {
        stopped = sshd->children();
        for (const pid_t child : stopped)
            ::kill(child, SIGSTOP);
        return true;
    };
    const auto begin = std::chrono::steady_clock::now();
    const auto error = must_fail(ssh.run(command), ErrorKind::unreachable);
    CHECK(has(error.message, "no sign of life"));
    CHECK(since(begin) < 5s);
    for (const pid_t child : stopped)
        ::kill(child, SIGKILL);
}

TEST_CASE_FIXTURE(SshFixture, "ssh: interrupted at once, while running and while connecting") {
    if (!sshd)
        return;
    auto asked = options();
    std::atomic<bool> stop = false;
    asked.interrupted = [&] { return stop.load(); };
    SshTransport ssh{asked};
    RemoteCommand command{.line = "echo started; exec tail -f /dev/null", .input = ""};
    Instant begin{};
    command.on_output = [&](std::string_view) {
        stop = true;
        begin = std::chrono::steady_clock::now();
        return true;
    };
    must_fail(ssh.run(command), ErrorKind::interrupted);
    CHECK(since(begin) < 1s);
    must_fail(ssh.run({.line = "true", .input = ""}), ErrorKind::interrupted);
    stop = false;
    command.on_output = [](std::string_view) { return false; };
    must_fail(ssh.run(command), ErrorKind::interrupted);
}

TEST_CASE_FIXTURE(SshFixture, "ssh: noise of login shells comes before, and does not disturb") {
    if (!sshd)
        return;
    sshd->stop();
    write_text(temp / "noisy", "#!/bin/sh\necho Welcome; echo careful >&2\neval \"$SSH_ORIGINAL_COMMAND\"\n");
    REQUIRE(shell("chmod +x " + (temp / "noisy") + "; rm " + (temp / "user_key") + " " + (temp / "host_key")) == 0);
    sshd.reset();
    auto noisy = TestSshd::start(temp.path(), "ForceCommand " + (temp / "noisy") + "\nBanner " + (temp / "noisy") + "\n");
    REQUIRE(noisy);
    SshOptions out;
    out.host = "sandbox";
    out.config_path = noisy->config();
    SshTransport ssh{out};
    CHECK(must(ssh.run({.line = "echo marker; exit 6", .input = ""})).out == "Welcome\nmarker\n");
}

TEST_CASE_FIXTURE(SshFixture, "ssh: upload arrives whole") {
    if (!sshd)
        return;
    auto ssh = transport();
    std::size_t n = 0;
    const auto done = upload(ssh, {.path = temp / "deep/er/file", .more_input = [&]() -> Result<std::string> {
                                       return n++ < 100 ? std::string(70'000, 'y') : std::string{};
                                   }});
    REQUIRE_MESSAGE(done, (done ? "" : done.error().text()));
    CHECK(read_text(temp / "deep/er/file") == std::string(7'000'000, 'y'));
    CHECK(sshd->connections() == 1);
}

TEST_CASE("for_any_login_shell: what csh and fish change in quotes is encoded") {
    CHECK(for_any_login_shell("echo 'a b'") == "exec /bin/sh -c 'echo '\\''a b'\\'''");
    const auto odd = for_any_login_shell("echo hi!\nprintf '\\n'");
    CHECK(odd.find('!') == std::string::npos);
    CHECK(odd.find('\n') == std::string::npos);
    for (const std::string name : {"sh", "bash", "tcsh", "fish", "zsh"}) {
        CAPTURE(name);
        if (shell("command -v " + name + " >/dev/null") != 0) {
            MESSAGE("SKIPPED: no " << name << " here");
            continue;
        }
        const auto result = run_command({.argv = {name, "-c", for_any_login_shell("echo \"hi! $((1+1))\"\nprintf '%s' 'a\\\\b' '\\'; exit 7")},
                                         .input = ""});
        REQUIRE(result);
        CHECK(result->out == "hi! 2\na\\\\b\\");
        CHECK(result->exit_code == 7);
    }
}

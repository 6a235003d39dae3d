#include "agent/guard.h"

#include "agent/spawn.h"
#include "base/json.h"
#include "base/text.h"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr int pipe_bytes = 1 << 20; // so that a rank rarely waits for the agent to read

void say(int fd, const std::string &text) {
    [[maybe_unused]] const auto n = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

Json spec_json(const GuardSpec &spec) {
    Json ranks = Json::array();
    for (const auto &rank : spec.ranks)
        ranks.push_back(Json{{"environment", rank.environment}, {"cpus", rank.cpus}, {"fds", rank.fds}});
    return Json{{"command", spec.command}, {"directory", spec.directory}, {"environment", spec.environment},
                {"ranks", std::move(ranks)}, {"lease_end", spec.lease_end.time_since_epoch().count()}};
}

} // namespace

Result<Fd> guard_file(const GuardSpec &spec) {
    // Bytes that are no UTF-8 are legal in variables and arguments: they must arrive as they are.
    const auto packed = Json::to_cbor(spec_json(spec));
    return memory_file("guard", std::string{packed.begin(), packed.end()});
}

Result<Pipe> output_pipe() {
    auto made = make_pipe();
    if (made) {
        ::fcntl(made->write_end.get(), F_SETPIPE_SZ, pipe_bytes); // refused above the user's limit: then it is smaller
        set_nonblocking(made->read_end.get());
    }
    return made;
}

Result<Guard> start_guard(const std::string &program, const GuardSpec &spec) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return errno_error(errno, "cannot make a socket for the guard", "");
    Fd ours{ends[0]}, theirs{ends[1]};
    const auto file = guard_file(spec);
    if (!file)
        return file.error();

    SpawnSpec child{{program, "guard"}, own_environment(), "/", {{theirs.get(), guard_control_fd}, {file->get(), guard_spec_fd}}};
    child.new_session = true;
    std::vector<Pipe> pipes;
    for (std::size_t i = 0; i < 2 * spec.ranks.size(); ++i) {
        auto made = output_pipe();
        if (!made)
            return made.error();
        child.fds.emplace_back(made->write_end.get(), guard_first_output_fd + static_cast<int>(i));
        pipes.push_back(std::move(*made));
    }
    child.fds.emplace_back(2, 2);
    const auto pid = spawn(child);
    if (!pid)
        return pid.error();
    Guard guard{*pid, ours.release(), {}};
    set_nonblocking(guard.control);
    for (auto &pipe : pipes)
        guard.outputs.push_back(pipe.read_end.release());
    return guard;
}

void tell_lease(const Guard &guard, Instant end) { say(guard.control, fmt::format("lease {}", end.time_since_epoch().count())); }
void tell_signal(const Guard &guard, int signal) { say(guard.control, fmt::format("signal {}", signal)); }
void tell_kill(const Guard &guard) { say(guard.control, "kill"); }

GuardNews hear_guard(const Guard &guard) {
    GuardNews news;
    char buffer[256];
    for (;;) {
        const auto n = ::recv(guard.control, buffer, sizeof buffer, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return news;
        if (n <= 0) {
            news.gone = true;
            return news;
        }
        const auto words = split(std::string_view{buffer, static_cast<std::size_t>(n)}, ' ');
        if (words[0] == "exit" && words.size() == 6)
            news.exits.push_back({std::stoi(words[1]), std::stoi(words[2]), std::stoi(words[3]), Instant{Duration{std::stoll(words[4])}}, words[5] == "1"});
        news.all_dead = news.all_dead || words[0] == "dead";
        news.doubtful = news.doubtful || words[0] == "doubtful";
    }
}

} // namespace trainctl

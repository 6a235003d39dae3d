#include "agent/srun_ranks.h"

#include "agent/spawn.h"
#include "base/text.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <csignal>
#include <cstring>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr std::size_t spare_guests = 8; // beyond the ranks: what connects and says nothing
constexpr int failed_code = 125;        // of a rank that srun did not start, or not as it should

Instant now() { return std::chrono::steady_clock::now(); }

std::string exit_text(std::size_t local, int code, int signal) {
    return fmt::format("exit {} {} {} {} 0", local, code, signal, now().time_since_epoch().count());
}

void say(int fd, const std::string &text) {
    [[maybe_unused]] const auto n = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

// One message; nothing at the end of the connection, "" where there is none yet.
std::optional<std::string> hear(int fd) {
    char buffer[256];
    const auto n = ::recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return "";
    return n <= 0 ? std::nullopt : std::optional{std::string(buffer, static_cast<std::size_t>(n))};
}

std::optional<std::size_t> number(const std::string &text) {
    std::size_t out = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), out);
    return failed == std::errc{} && end == text.data() + text.size() ? std::optional{out} : std::nullopt;
}

std::string value_of(const Environment &environment, const char *name) {
    const auto at = environment.find(name);
    return at == environment.end() ? "" : at->second;
}

} // namespace

std::string task_socket_name(const std::string &token, const std::string &node) {
    constexpr std::size_t longest = sizeof(sockaddr_un::sun_path);
    return (std::string(1, '\0') + "trainctl-task-" + token + "-" + node).substr(0, longest);
}

std::optional<pid_t> peer_of_same_user(int socket) {
    ucred peer{};
    socklen_t size = sizeof peer;
    const bool known = ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == ::getuid();
    return known ? std::optional{peer.pid} : std::nullopt;
}

SrunRanks::SrunRanks(Loop &loop, Setting setting) : loop_(loop), setting_(std::move(setting)) {}

SrunRanks::~SrunRanks() { close_all(); }

Result<Guard> SrunRanks::start(GuardSpec spec) {
    spec.environment.erase(task_token_variable);
    spec_ = std::move(spec);
    const auto name = task_socket_name(setting_.token, setting_.node);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    listener_ = Fd{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    const auto *const place = reinterpret_cast<const sockaddr *>(&address);
    if (!listener_ || ::bind(listener_.get(), place, size) != 0 || ::listen(listener_.get(), SOMAXCONN) != 0)
        return errno_error(errno, "cannot listen for the tasks of srun", "");
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
        return errno_error(errno, "cannot make a socket for the tasks of srun", "");
    control_ = Fd{ends[0]};
    Fd theirs{ends[1]};
    std::vector<Fd> outputs;
    for (std::size_t local = 0; local < spec_.ranks.size(); ++local) {
        auto out = output_pipe(), err = output_pipe();
        if (!out || !err)
            return out ? err.error() : out.error();
        ranks_.emplace_back();
        ranks_.back().out = std::move(out->write_end);
        ranks_.back().err = std::move(err->write_end);
        outputs.push_back(std::move(out->read_end));
        outputs.push_back(std::move(err->read_end));
    }
    Guard guard{0, theirs.release(), {}};
    for (auto &output : outputs)
        guard.outputs.push_back(output.release());
    loop_.when_readable(listener_.get(), [this] { accept_all(); });
    loop_.when_readable(control_.get(), [this] { hear_agent(); });
    timer_ = loop_.after(setting_.arrival_limit, [this] { look_for_missing(); });
    return guard;
}

void SrunRanks::accept_all() {
    for (;;) {
        Fd guest{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
        if (!guest)
            return;
        if (killing_ || !peer_of_same_user(guest.get()) || guests_.size() >= ranks_.size() + spare_guests)
            continue; // closed again
        const int fd = guest.get();
        guests_.push_back(std::move(guest));
        loop_.when_readable(fd, [this, fd] { hear_guest(fd); });
    }
}

void SrunRanks::hear_guest(int fd) {
    const auto hello = hear(fd);
    if (hello && hello->empty())
        return;
    const auto at = std::find_if(guests_.begin(), guests_.end(), [fd](const Fd &guest) { return guest.get() == fd; });
    loop_.forget(fd);
    Fd guest = std::move(*at);
    guests_.erase(at);
    if (!hello || killing_ || !admit(guest, *hello))
        guest.close();
}

// "task <local rank> <rank> <ranks in all>", as the step counts.
bool SrunRanks::admit(Fd &guest, const std::string &hello) {
    const auto words = split(hello, ' ');
    const auto local = words.size() == 4 && words[0] == "task" ? number(words[1]) : std::nullopt;
    if (!local || *local >= ranks_.size() || ranks_[*local].came) {
        setting_.log("a task of srun that is not expected: " + valid_utf8(hello));
        return false;
    }
    auto &rank = ranks_[*local];
    rank.came = true;
    const auto ours = value_of(spec_.ranks[*local].environment, "RANK"), count = value_of(spec_.environment, "WORLD_SIZE");
    if (words[2] != ours || words[3] != count) {
        fail(*local, fmt::format("srun made rank {} of {} what should be rank {} of {}", words[2], words[3], ours, count));
        return false;
    }
    setting_.on_task(peer_of_same_user(guest.get()).value_or(0));
    if (const auto handed = hand_over(guest.get(), *local); !handed) {
        fail(*local, handed.error().text());
        return false;
    }
    rank.task = std::move(guest);
    loop_.when_readable(rank.task.get(), [this, local = *local] { hear_task(local); });
    return true;
}

Result<void> SrunRanks::hand_over(int task, std::size_t local) {
    GuardSpec spec = spec_;
    spec.ranks = {spec_.ranks[local]};
    const auto file = guard_file(spec);
    if (!file)
        return file.error();
    auto &rank = ranks_[local];
    const std::array<int, 3> fds{file->get(), rank.out.get(), rank.err.get()};
    char word[] = "go";
    iovec data{word, sizeof word - 1};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof fds)> room{};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = room.data();
    message.msg_controllen = room.size();
    cmsghdr *const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fds);
    std::memcpy(CMSG_DATA(header), fds.data(), sizeof fds);
    if (::sendmsg(task, &message, MSG_NOSIGNAL) < 0)
        return errno_error(errno, "cannot hand a rank over to its task", "");
    rank.out.close();
    rank.err.close();
    return {};
}

void SrunRanks::hear_task(std::size_t local) {
    auto &rank = ranks_[local];
    while (rank.task) {
        const auto text = hear(rank.task.get());
        if (text && text->empty())
            return;
        if (!text) {
            loop_.forget(rank.task.get());
            rank.task.close();
            if (!rank.dead)
                return lose(local);
            return look_whether_dead();
        }
        const auto words = split(*text, ' ');
        if (words[0] == "exit" && words.size() == 6)
            say(control_.get(), fmt::format("exit {} {} {} {} {}", local, words[2], words[3], words[4], words[5]));
        else if (words[0] == "doubtful")
            say(control_.get(), *text);
        rank.dead = rank.dead || words[0] == "dead";
    }
}

void SrunRanks::hear_agent() {
    for (;;) {
        const auto text = hear(control_.get());
        if (text && text->empty())
            return;
        if (!text)
            return close_all();
        const auto words = split(*text, ' ');
        if (words[0] == "lease" && words.size() == 2)
            spec_.lease_end = Instant{Duration{std::stoll(words[1])}};
        killing_ = killing_ || words[0] == "kill";
        tell_all(*text);
        if (killing_)
            return look_whether_dead();
    }
}

void SrunRanks::tell_all(const std::string &text) {
    for (const auto &rank : ranks_)
        if (rank.task)
            say(rank.task.get(), text);
}

// A rank that never was: its words go where its own would have gone.
void SrunRanks::fail(std::size_t local, const std::string &why) {
    setting_.log(why);
    auto &rank = ranks_[local];
    const std::string line = "trainctl: " + why + "\n";
    [[maybe_unused]] const auto n = ::write(rank.err.get(), line.data(), line.size());
    rank.out.close();
    rank.err.close();
    rank.came = rank.dead = true;
    say(control_.get(), exit_text(local, failed_code, 0));
}

void SrunRanks::look_for_missing() {
    timer_ = 0;
    for (std::size_t local = 0; local < ranks_.size() && !killing_; ++local)
        if (!ranks_[local].came)
            fail(local, fmt::format("srun started no task for local rank {} within {} s", local,
                                    std::chrono::duration_cast<std::chrono::seconds>(setting_.arrival_limit).count()));
}

// Who has not come by the kill never will: it is sent away.
void SrunRanks::look_whether_dead() {
    if (!killing_ || std::any_of(ranks_.begin(), ranks_.end(), [](const Rank &rank) { return static_cast<bool>(rank.task); }))
        return;
    say(control_.get(), "dead");
    close_all();
}

void SrunRanks::lose(std::size_t local) {
    setting_.log(fmt::format("the task of local rank {} was killed", local));
    say(control_.get(), exit_text(local, 0, SIGKILL));
    close_all();
}

void SrunRanks::close_all() {
    loop_.cancel(timer_);
    std::vector<Fd *> all{&listener_, &control_};
    for (auto &guest : guests_)
        all.push_back(&guest);
    for (auto &rank : ranks_)
        all.insert(all.end(), {&rank.task, &rank.out, &rank.err});
    for (Fd *const fd : all) {
        if (!*fd)
            continue;
        loop_.forget(fd->get());
        fd->close();
    }
}

} // namespace trainctl

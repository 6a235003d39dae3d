#include "support/test_sshd.h"

#include <algorithm>
#include <arpa/inet.h>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <sstream>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace trainctl {

namespace {

constexpr auto start_limit = std::chrono::seconds{20};

sockaddr_in loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    return address;
}

int free_port() {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    auto address = loopback(0);
    socklen_t size = sizeof address;
    const bool bound = ::bind(fd, reinterpret_cast<sockaddr *>(&address), size) == 0 &&
                       ::getsockname(fd, reinterpret_cast<sockaddr *>(&address), &size) == 0;
    ::close(fd);
    return bound ? ntohs(address.sin_port) : 0;
}

bool listens(int port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    const auto address = loopback(port);
    const bool yes = ::connect(fd, reinterpret_cast<const sockaddr *>(&address), sizeof address) == 0;
    ::close(fd);
    return yes;
}

} // namespace

int shell(const std::string &line) {
    const int status = std::system(line.c_str()); // NOLINT: tests' own lines
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

void write_text(const std::string &path, const std::string &text) {
    std::ofstream{path} << text;
}

std::string read_text(const std::string &path) {
    std::ostringstream out;
    out << std::ifstream{path}.rdbuf();
    return out.str();
}

std::optional<TestSshd> TestSshd::start(const std::string &folder, const std::string &extra) {
    if (::access("/usr/sbin/sshd", X_OK) != 0 || shell("command -v ssh-keygen >/dev/null") != 0) {
        MESSAGE("SKIPPED: no sshd here; apt-get install openssh-server openssh-client");
        return std::nullopt;
    }
    if (::getuid() == 0)
        ::mkdir("/run/sshd", 0755); // sshd's own wish, as root only
    TestSshd sshd;
    sshd.folder_ = folder;
    const passwd *entry = ::getpwuid(::getuid());
    REQUIRE(entry != nullptr);
    sshd.user_ = entry->pw_name;
    for (const auto &key : {sshd.key(), sshd.host_key()})
        REQUIRE(shell("ssh-keygen -q -t ed25519 -N '' -C test -f " + key) == 0);
    // Another process may take the free port before sshd does.
    bool running = false;
    for (int attempt = 0; attempt < 5 && !running; ++attempt)
        running = sshd.launch(extra);
    REQUIRE_MESSAGE(running, sshd.log());
    const std::string port = std::to_string(sshd.port_);
    write_text(sshd.known_hosts(), "[127.0.0.1]:" + port + " " + read_text(sshd.host_key() + ".pub"));
    write_text(sshd.config(), "Host sandbox\n  HostName 127.0.0.1\n  Port " + port + "\n  User " + sshd.user_ +
                                  "\n  IdentityFile " + sshd.key() + "\n  IdentityAgent none\n  UserKnownHostsFile " +
                                  sshd.known_hosts() + "\n");
    return sshd;
}

bool TestSshd::launch(const std::string &extra) {
    port_ = free_port();
    const std::string config = folder_ + "/sshd_config";
    write_text(config, "Port " + std::to_string(port_) + "\nListenAddress 127.0.0.1\nHostKey " + host_key() +
                           "\nAuthorizedKeysFile " + key() + ".pub\nPidFile none\nStrictModes no\nUsePAM no\n" +
                           "PasswordAuthentication no\nPermitRootLogin yes\nLogLevel VERBOSE\nMaxStartups 100\n" + extra);
    const std::string log = folder_ + "/sshd.log";
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGTERM);
        const int null = ::open("/dev/null", O_RDWR);
        ::dup2(null, 0);
        ::dup2(null, 1);
        ::dup2(null, 2);
        if (::getppid() == parent)
            ::execl("/usr/sbin/sshd", "/usr/sbin/sshd", "-D", "-E", log.c_str(), "-f", config.c_str(), nullptr);
        ::_exit(127);
    }
    const auto end = std::chrono::steady_clock::now() + start_limit;
    while (std::chrono::steady_clock::now() < end) {
        if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
            pid_ = -1;
            return false;
        }
        if (listens(port_))
            return true;
        ::poll(nullptr, 0, 5);
    }
    stop();
    return false;
}

TestSshd::TestSshd(TestSshd &&other) noexcept
    : folder_(std::move(other.folder_)), user_(std::move(other.user_)), port_(other.port_),
      pid_(std::exchange(other.pid_, -1)) {}

TestSshd::~TestSshd() {
    stop();
}

void TestSshd::stop() {
    if (pid_ <= 0)
        return;
    const auto sessions = children();
    ::kill(pid_, SIGTERM);
    ::waitpid(std::exchange(pid_, -1), nullptr, 0);
    for (const pid_t session : sessions)
        ::kill(session, SIGKILL);
}

std::string TestSshd::log() const {
    return read_text(folder_ + "/sshd.log");
}

int TestSshd::connections() const {
    const auto text = log();
    int count = 0;
    for (std::size_t at = 0; (at = text.find("Accepted publickey for", at)) != std::string::npos; ++at)
        ++count;
    return count;
}

std::vector<pid_t> TestSshd::children() const {
    std::vector<std::pair<pid_t, pid_t>> servers; // process and parent
    for (const auto &entry : std::filesystem::directory_iterator{"/proc"}) {
        const auto name = entry.path().filename().string();
        if (name.find_first_not_of("0123456789") != std::string::npos)
            continue;
        // "pid (name) state ppid ...": the name may hold anything but ends at the last bracket.
        const auto stat = read_text("/proc/" + name + "/stat");
        std::istringstream rest{stat.substr(std::min(stat.size(), stat.rfind(')') + 1))};
        char state = 0;
        pid_t parent = 0;
        if (stat.find("(sshd") != std::string::npos && rest >> state >> parent && state != 'Z')
            servers.emplace_back(std::stoi(name), parent);
    }
    // For an ordinary user a connection is a monitor and its child; both hold the socket.
    std::vector<pid_t> out;
    for (const auto &[server, parent] : servers)
        if (parent == pid_)
            out.push_back(server);
    for (std::size_t i = 0; i < out.size(); ++i)
        for (const auto &[server, parent] : servers)
            if (parent == out[i])
                out.push_back(server);
    return out;
}

} // namespace trainctl

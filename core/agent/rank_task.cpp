#include "agent/rank_task.h"

#include "agent/guard.h"
#include "agent/spawn.h"
#include "agent/srun_ranks.h"
#include "base/json.h"
#include "base/text.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration find_agent_limit = 30s; // it hears of the generation when srun is started, or a little later
constexpr int look_again_ms = 20;
constexpr std::size_t handed_fds = 3;      // the spec, stdout, stderr
constexpr int first_free_fd = 16;          // above all that a guard of one rank uses
constexpr const char *pmi_fd_variable = "PMI_FD";

int failed(const std::string &what) {
    std::fprintf(stderr, "trainctl-agent task: %s\n", what.c_str());
    return 1;
}

Fd connect_to_agent(const std::string &name) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    const auto end = std::chrono::steady_clock::now() + find_agent_limit;
    while (std::chrono::steady_clock::now() < end) {
        Fd socket{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
        if (socket && ::connect(socket.get(), reinterpret_cast<const sockaddr *>(&address), size) == 0)
            return socket;
        ::poll(nullptr, 0, look_again_ms);
    }
    return Fd{};
}

// The descriptors that come with the answer; none where the agent wants no task any more.
std::vector<Fd> receive_rank(int socket) {
    std::array<int, handed_fds> fds{};
    char word[16];
    iovec data{word, sizeof word};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof fds)> room{};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = room.data();
    message.msg_controllen = room.size();
    ssize_t n = 0;
    do
        n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    const cmsghdr *const header = n > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
    std::vector<Fd> out;
    if (header == nullptr || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof fds))
        return out;
    std::memcpy(fds.data(), CMSG_DATA(header), sizeof fds);
    for (const int fd : fds)
        out.emplace_back(fd);
    return out;
}

// The spec with what the step set; a descriptor of PMI moves out of the guard's way.
Result<Fd> complete(int file, Environment step) {
    Json spec = Json::from_cbor(read_all(file), true, false);
    if (spec.is_discarded() || !spec.contains("ranks") || spec["ranks"].size() != 1)
        return Error{ErrorKind::invalid, "what the agent sent is no rank", "", ""};
    Json &rank = spec["ranks"][0];
    const auto pmi = step.find(pmi_fd_variable);
    int old = -1;
    if (pmi != step.end() && std::from_chars(pmi->second.data(), pmi->second.data() + pmi->second.size(), old).ec == std::errc{}) {
        const int fd = ::fcntl(old, F_DUPFD, first_free_fd);
        if (fd < 0)
            return errno_error(errno, "cannot pass on PMI's connection", pmi_fd_variable);
        ::close(old);
        pmi->second = std::to_string(fd);
        rank["fds"].push_back(fd);
    }
    for (const auto &[name, value] : step)
        rank["environment"][name] = value;
    const auto packed = Json::to_cbor(spec);
    return memory_file("guard", std::string{packed.begin(), packed.end()});
}

// All at once where the guard looks for them; the originals lie above, or are closed with their owners.
bool place(const Fd &control, const Fd &spec, const std::vector<Fd> &handed) {
    std::vector<int> high;
    for (const int fd : {control.get(), spec.get(), handed[1].get(), handed[2].get()})
        high.push_back(::fcntl(fd, F_DUPFD_CLOEXEC, first_free_fd));
    const int targets[] = {guard_control_fd, guard_spec_fd, guard_first_output_fd, guard_first_output_fd + 1};
    for (std::size_t i = 0; i < high.size(); ++i)
        if (high[i] < 0 || ::dup2(high[i], targets[i]) < 0 || ::fcntl(targets[i], F_SETFD, FD_CLOEXEC) < 0)
            return false;
    for (const int fd : high)
        ::close(fd);
    return true;
}

} // namespace

Environment step_variables(const Environment &environment) {
    constexpr std::array<std::string_view, 5> prefixes{"SLURM", "PMI", "OMPI_", "MPICH_", "I_MPI_"};
    constexpr std::array<std::string_view, 4> chips{"CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"};
    Environment out;
    for (const auto &[name, value] : environment)
        if (std::any_of(prefixes.begin(), prefixes.end(), [&](auto prefix) { return starts_with(name, prefix); }) ||
            std::find(chips.begin(), chips.end(), name) != chips.end())
            out[name] = value;
    out.erase("SLURM_HOSTFILE"); // a descriptor of srun's
    return out;
}

int rank_task_main(const std::vector<std::string> &) {
    const auto token = own_variable(task_token_variable), node = own_variable("SLURMD_NODENAME");
    const auto hello = "task " + own_variable("SLURM_LOCALID") + " " + own_variable("SLURM_PROCID") + " " + own_variable("SLURM_NTASKS");
    if (token.empty() || node.empty())
        return failed("is started by srun, for a rank");
    Fd control = connect_to_agent(task_socket_name(token, node));
    if (!control || !peer_of_same_user(control.get()))
        return failed("no agent on " + node + " waits for it");
    if (::send(control.get(), hello.data(), hello.size(), MSG_NOSIGNAL) < 0)
        return 0;
    std::vector<Fd> handed = receive_rank(control.get());
    if (handed.empty())
        return 0; // the generation is over, or the agent has said why not
    const auto spec = complete(handed[0].get(), step_variables(own_environment()));
    if (!spec)
        return failed(spec.error().text());
    if (!place(control, *spec, handed))
        return failed("cannot arrange its descriptors");
    // What stands at the guard's numbers now is the guard's.
    for (Fd *const fd : {&control, &handed[0], &handed[1], &handed[2]})
        if (fd->get() >= guard_control_fd && fd->get() <= guard_first_output_fd + 1)
            fd->release();
        else
            fd->close();
    return run_guard();
}

} // namespace trainctl

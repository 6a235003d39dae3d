#include "agent/drill.h"

#include "agent/evidence_facts.h"
#include "base/text.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <sys/resource.h>
#include <unistd.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration last_word = 300ms; // for the report that says that the node is about to be cut off

// The one that was started as the rank: its parent is none of them.
pid_t first_of(const std::vector<pid_t> &tree) {
    for (const auto &seen : list_processes())
        if (std::find(tree.begin(), tree.end(), seen.pid) != tree.end() && std::find(tree.begin(), tree.end(), seen.parent) == tree.end())
            return seen.pid;
    return 0;
}

// Of its address space; 0 where the process is gone.
std::uint64_t address_space(pid_t pid) {
    std::ifstream file{fmt::format("/proc/{}/statm", pid)};
    std::uint64_t pages = 0;
    file >> pages;
    return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

// Half of what it has: whatever it gives back meanwhile, it gets no more.
Result<std::string> starve(pid_t pid) {
    rlimit limit{};
    if (::prlimit(pid, RLIMIT_AS, nullptr, &limit) != 0)
        return errno_error(errno, "cannot read the limit of memory", std::to_string(pid));
    const auto size = address_space(pid);
    limit.rlim_cur = std::min<rlim_t>(size / 2, limit.rlim_max);
    if (size == 0 || ::prlimit(pid, RLIMIT_AS, &limit, nullptr) != 0)
        return errno_error(size == 0 ? ESRCH : errno, "cannot limit the memory", std::to_string(pid));
    return fmt::format("RLIMIT_AS of {} MiB, it has {} MiB", limit.rlim_cur >> 20, size >> 20);
}

} // namespace

std::map<std::string, std::vector<DrillOrder>> drill_orders(const DrillWish &wish, int first_number) {
    std::map<std::string, std::vector<DrillOrder>> out;
    for (const auto &fault : wish.faults)
        if (traits(fault.kind).actor == DrillActor::job) {
            const auto kind = fault.kind == DrillKind::corrupt_checkpoint ? DrillKind::crash : fault.kind;
            out[fault.node].push_back({first_number++, wish.generation, to_string(kind), fault.rank, static_cast<std::int64_t>(fault.seconds * 1000)});
        }
    return out;
}

Result<std::string> cut_checkpoint(const std::optional<CheckpointSeen> &newest) {
    namespace fs = std::filesystem;
    if (!newest)
        return Error{ErrorKind::not_found, "there is no complete checkpoint", "", ""};
    const std::string &path = newest->path;
    std::error_code code;
    fs::path largest = path;
    std::uintmax_t size = fs::is_directory(path, code) ? 0 : fs::file_size(path, code);
    if (fs::is_directory(path, code))
        for (const auto &entry : fs::recursive_directory_iterator(path, code))
            if (entry.is_regular_file(code) && entry.file_size(code) > size) {
                largest = entry.path();
                size = entry.file_size(code);
            }
    if (size == 0 && !code)
        return Error{ErrorKind::not_found, "there is nothing to cut", path, ""};
    if (!code)
        fs::resize_file(largest, size / 2, code);
    if (code)
        return errno_error(code.value(), "cannot cut it short", largest.string());
    return fmt::format("{} cut from {} to {} bytes", largest.string(), size, size / 2);
}

void HeadDrills::take(const DrillWish &wish, int attempt, int generation) {
    if (wish.attempt != attempt || wish.generation != generation)
        return refuse(wish, "what was to be hurt does not train any more");
    hurt_ = generation;
    const bool cuts = std::any_of(wish.faults.begin(), wish.faults.end(), [](const auto &fault) { return fault.kind == DrillKind::corrupt_checkpoint; });
    if (!cuts)
        return begin(wish);
    calls_.cut([this, wish](const Result<std::string> &cut) {
        if (!cut)
            return refuse(wish, cut.error().text());
        begin(wish);
        done({*cut});
    });
}

void HeadDrills::begin(const DrillWish &wish) {
    id_ = wish.id;
    calls_.note("drill", to_json(wish));
    calls_.order(drill_orders(wish, orders_ + 1));
    orders_ += static_cast<int>(wish.faults.size());
}

void HeadDrills::done(const std::vector<std::string> &texts) {
    for (const auto &text : texts)
        calls_.note("drill_done", Json{{"id", id_}, {"text", text}});
}

bool NodeDrills::take(const std::vector<DrillOrder> &orders, const Mark &ranks, Instant now) {
    const auto before = done_.size();
    for (const auto &order : orders) {
        if (order.number <= number_ || order.generation != ranks.generation)
            continue;
        number_ = order.number;
        const auto did = inflict(order, ranks, now);
        done_.push_back({order.number, did ? *did : order.kind + " could not be done: " + did.error().text()});
    }
    return done_.size() > before;
}

Result<std::string> NodeDrills::inflict(const DrillOrder &order, const Mark &ranks, Instant now) {
    const auto kinds = drill_kinds({order.kind});
    if (!kinds)
        return kinds.error();
    if (kinds->front() == DrillKind::cut_off) {
        cut_from_ = now + last_word;
        cut_until_ = cut_from_ + std::chrono::milliseconds{order.for_ms};
        return fmt::format("{} and its head no longer hear each other, for {:.0f} s", ranks.node, static_cast<double>(order.for_ms) / 1000);
    }
    const auto all = processes_of_ranks({}, ranks);
    const auto own = all.find(order.rank);
    const pid_t pid = own == all.end() ? 0 : first_of(own->second);
    if (pid <= 0)
        return Error{ErrorKind::not_found, fmt::format("rank {} has no process", order.rank), ranks.node, ""};
    // Those that a launcher started have ranks of their own in their environment.
    auto tree = descendants_of(pid, list_processes());
    tree.insert(tree.begin(), pid);
    const auto who = fmt::format("rank {} (pid {}) on {}", order.rank, pid, ranks.node);
    switch (kinds->front()) {
    case DrillKind::crash:
        ::kill(pid, SIGKILL);
        return "SIGKILL for " + who;
    case DrillKind::hang:
        for (const pid_t member : tree)
            ::kill(member, SIGSTOP);
        return fmt::format("SIGSTOP for the {} processes of {}", tree.size(), who);
    case DrillKind::oom: {
        const auto done = starve(*std::max_element(tree.begin(), tree.end(), [](pid_t a, pid_t b) { return address_space(a) < address_space(b); }));
        return done ? Result<std::string>{*done + ": " + who} : done;
    }
    case DrillKind::node_loss:
    case DrillKind::head_loss:
    case DrillKind::cut_off:
    case DrillKind::preempt:
    case DrillKind::time_limit:
    case DrillKind::corrupt_checkpoint:
    case DrillKind::disk_full: break;
    }
    return Error{ErrorKind::invalid, "no agent does this", order.kind, ""};
}

} // namespace trainctl

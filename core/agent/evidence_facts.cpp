#include "agent/evidence_facts.h"

#include "base/text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <set>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr std::size_t max_proc_bytes = 1u << 20; // of one file of /proc; a table of sockets may be long
constexpr std::size_t most_threads = 512, most_threads_in_full = 64, most_descriptors = 4096;
constexpr std::size_t most_frames = 3, most_frame_bytes = 90;

std::string read_file(const std::string &path) {
    std::string out;
    const Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    char buffer[1 << 14];
    for (ssize_t n = 0; fd && out.size() < max_proc_bytes && (n = ::read(fd.get(), buffer, sizeof buffer)) > 0;)
        out.append(buffer, static_cast<std::size_t>(n));
    return out;
}

std::vector<std::string> names_in(const std::string &path, std::size_t most) {
    std::vector<std::string> out;
    const std::unique_ptr<DIR, int (*)(DIR *)> folder{::opendir(path.c_str()), &::closedir};
    while (const auto *entry = folder && out.size() < most ? ::readdir(folder.get()) : nullptr)
        if (entry->d_name[0] != '.')
            out.emplace_back(entry->d_name);
    return out;
}

template <class Number> Number number(std::string_view text, int base = 10) {
    Number out = 0;
    std::from_chars(text.data(), text.data() + text.size(), out, base);
    return out;
}

std::string folder_of(pid_t pid) { return "/proc/" + std::to_string(pid); }

// "0" where it runs, and where the kernel tells nobody.
std::string wait_channel(const std::string &folder) {
    const std::string out{trim(read_file(folder + "/wchan"))};
    return out == "0" ? "" : out;
}

ProcessFacts facts_in(const std::string &folder, pid_t pid) {
    const std::string stat = read_file(folder + "/stat");
    const auto name_begin = stat.find('('), name_end = stat.rfind(')'); // a name may hold anything
    if (name_begin == std::string::npos || name_end == std::string::npos || name_end + 2 >= stat.size())
        return {};
    // From the state on, which proc(5) counts as field 3: utime is 14, stime 15, num_threads 20.
    const auto fields = split(std::string_view{stat}.substr(name_end + 2), ' ');
    if (fields.size() < 18)
        return {};
    ProcessFacts out;
    out.pid = pid;
    out.name = valid_utf8(stat.substr(name_begin + 1, name_end - name_begin - 1));
    out.state = fields[0];
    out.cpu_ticks = number<std::uint64_t>(fields[11]) + number<std::uint64_t>(fields[12]);
    out.threads = number<int>(fields[17]);
    out.waits_in = wait_channel(folder);
    return out;
}

std::string doing(const std::string &state, const std::string &waits_in) {
    return waits_in.empty() ? state : state + " " + waits_in;
}

std::map<std::string, int> threads_of(pid_t pid) {
    std::map<std::string, int> out;
    const std::string folder = folder_of(pid) + "/task/";
    for (const auto &thread : names_in(folder, most_threads)) {
        const auto facts = facts_in(folder + thread, pid);
        if (facts.pid != 0)
            ++out[doing(facts.state, facts.waits_in)];
    }
    return out;
}

std::optional<int> rank_in_environment(pid_t pid) {
    for (const auto &variable : split(read_file(folder_of(pid) + "/environ"), '\0'))
        if (starts_with(variable, "RANK=") && variable.size() > 5)
            return number<int>(std::string_view{variable}.substr(5));
    return std::nullopt;
}

// As in the kernel's include/net/tcp_states.h.
const char *tcp_state(unsigned state) {
    constexpr const char *names[] = {"?", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT",
                                     "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING"};
    return names[state < std::size(names) ? state : 0];
}

std::string cut(std::string text, std::size_t size) {
    if (text.size() <= size)
        return text;
    text.resize(size - 3);
    return text + "...";
}

// "0-3,5"
std::string rank_list(const std::vector<int> &ranks) {
    std::string out;
    for (std::size_t i = 0; i < ranks.size();) {
        std::size_t last = i;
        while (last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1)
            ++last;
        out += (out.empty() ? "" : ",") + std::to_string(ranks[i]) + (last > i ? "-" + std::to_string(ranks[last]) : "");
        i = last + 1;
    }
    return out;
}

std::string rank_text(const RankFacts &rank) {
    if (rank.main.pid == 0)
        return "has no process any more";
    std::string out = rank.main.name + ": " + doing(rank.main.state, rank.main.waits_in);
    if (rank.main.state == "D")
        out += " (cannot be interrupted: a disk, a file server or a driver does not answer)";
    if (rank.cpu_share >= 0) // by tenths, so that ranks that do the same read the same
        out += rank.cpu_share < 0.05 ? ", no CPU time" : fmt::format(", {:.1f} CPUs", rank.cpu_share);
    if (!rank.frames.empty())
        out += "; in " + rank.frames;
    std::vector<std::pair<int, std::string>> threads;
    for (const auto &[what, count] : rank.threads)
        threads.emplace_back(-count, what);
    std::sort(threads.begin(), threads.end());
    if (rank.main.threads > 1) {
        out += fmt::format("; {} threads:", rank.main.threads);
        for (std::size_t i = 0; i < std::min<std::size_t>(threads.size(), 3); ++i)
            out += fmt::format("{} {} {}", i > 0 ? "," : "", -threads[i].first, threads[i].second);
    }
    if (rank.all.size() > 1)
        out += fmt::format("; {} other processes", rank.all.size() - 1);
    return out + (rank.sockets.empty() ? "" : "; " + rank.sockets);
}

} // namespace

ProcessFacts process_facts(pid_t pid) { return facts_in(folder_of(pid), pid); }

RankFacts rank_facts(int rank, const std::vector<pid_t> &processes) {
    RankFacts out;
    out.rank = rank;
    for (const pid_t pid : processes) {
        auto facts = process_facts(pid);
        if (facts.pid == 0)
            continue;
        if (facts.threads > out.main.threads && facts.state != "Z")
            out.main = facts;
        out.all.push_back(std::move(facts));
    }
    if (out.main.pid != 0)
        out.threads = threads_of(out.main.pid);
    return out;
}

std::map<int, std::vector<pid_t>> processes_of_ranks(const std::vector<RankPid> &given, const Mark &mark) {
    std::map<int, std::vector<pid_t>> out;
    if (!given.empty()) {
        const auto all = list_processes();
        for (const auto &[rank, pid] : given) {
            out[rank] = descendants_of(pid, all);
            out[rank].insert(out[rank].begin(), pid);
        }
        return out;
    }
    const auto ours = to_string(mark);
    for (const pid_t pid : marked_processes([&](const Mark &seen) { return to_string(seen) == ours; }))
        if (const auto rank = rank_in_environment(pid))
            out[*rank].push_back(pid);
    return out;
}

std::string sockets_of(pid_t pid) {
    std::set<std::string> inodes;
    const std::string folder = folder_of(pid) + "/fd/";
    for (const auto &name : names_in(folder, most_descriptors)) {
        char target[64];
        const auto size = ::readlink((folder + name).c_str(), target, sizeof target);
        const std::string_view link{target, static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
        if (starts_with(link, "socket:["))
            inodes.emplace(link.substr(8, link.size() - 9));
    }
    std::map<std::string, int> states;
    std::uint64_t unsent = 0, unread = 0;
    for (const char *table : {"/net/tcp", "/net/tcp6"}) {
        for (const auto &line : split_lines(read_file(folder_of(pid) + table))) {
            std::vector<std::string> fields;
            for (auto &field : split(line, ' '))
                if (!field.empty())
                    fields.push_back(std::move(field));
            // "sl local remote st tx_queue:rx_queue tr:when retrnsmt uid timeout inode"
            if (fields.size() < 10 || inodes.count(fields[9]) == 0)
                continue;
            ++states[tcp_state(number<unsigned>(fields[3], 16))];
            const auto queues = split(fields[4], ':');
            unsent += number<std::uint64_t>(queues[0], 16);
            if (queues.size() > 1 && fields[3] != "0A")
                unread += number<std::uint64_t>(queues[1], 16);
        }
    }
    std::string out;
    for (const auto &[state, count] : states)
        out += fmt::format("{}{} {}", out.empty() ? "tcp: " : ", ", count, state);
    if (unsent > 0)
        out += fmt::format(", {} unsent", human_bytes(unsent));
    return unread > 0 ? out + fmt::format(", {} unread", human_bytes(unread)) : out;
}

std::string full_text(pid_t pid) {
    const std::string folder = folder_of(pid);
    const auto facts = process_facts(pid);
    std::string command = read_file(folder + "/cmdline");
    std::replace(command.begin(), command.end(), '\0', ' ');
    std::string out = fmt::format("process {} {}: {} threads\n  command: {}\n", pid, facts.name, facts.threads,
                                  valid_utf8(cut(command, 2000)));
    for (const auto &line : split_lines(read_file(folder + "/status")))
        for (const char *wanted : {"VmRSS:", "VmSwap:", "SigQ:", "SigPnd:", "ShdPnd:", "Cpus_allowed_list:", "voluntary", "nonvoluntary"})
            if (starts_with(line, wanted))
                out += "  " + line + "\n";
    const auto threads = names_in(folder + "/task", most_threads);
    for (std::size_t i = 0; i < std::min(threads.size(), most_threads_in_full); ++i) {
        const std::string task = folder + "/task/" + threads[i];
        const auto thread = facts_in(task, pid);
        out += fmt::format("  thread {} {}: {}; system call {}\n", threads[i], thread.name, doing(thread.state, thread.waits_in),
                           valid_utf8(trim(read_file(task + "/syscall"))));
        for (const auto &line : split_lines(read_file(task + "/stack"))) // root's alone on most systems
            out += "    " + line + "\n";
    }
    if (threads.size() > most_threads_in_full)
        out += fmt::format("  and {} threads more\n", threads.size() - most_threads_in_full);
    return out;
}

std::string innermost_frames(const std::string &dump) {
    std::vector<std::string> frames;
    bool inside = false, main = false;
    for (const auto &line : split_lines(dump)) {
        if (starts_with(line, "Thread ")) {
            if (main)
                break;
            main = line.find("\"MainThread\"") != std::string::npos;
            if (main)
                frames.clear();
            inside = main || frames.empty();
        } else if (inside && starts_with(line, "    ") && frames.size() < most_frames) {
            frames.push_back(cut(valid_utf8(trim(line)), most_frame_bytes));
        }
    }
    return join(frames, " < ");
}

std::string evidence_summary(const std::vector<RankFacts> &ranks, const std::string &chips) {
    std::vector<std::pair<std::string, std::vector<const RankFacts *>>> groups;
    for (const auto &rank : ranks) {
        const auto text = rank_text(rank);
        const auto known = std::find_if(groups.begin(), groups.end(), [&](const auto &group) { return group.first == text; });
        if (known == groups.end())
            groups.push_back({text, {&rank}});
        else
            known->second.push_back(&rank);
    }
    if (groups.empty())
        return "no process of the ranks was found on this node";
    const std::size_t share = (max_evidence_summary_bytes - 200) / groups.size();
    std::vector<std::string> lines;
    for (const auto &[text, members] : groups) {
        std::vector<int> numbers;
        for (const auto *member : members)
            numbers.push_back(member->rank);
        const auto who = members.size() > 1 ? "ranks " + rank_list(numbers)
                                            : fmt::format("rank {} (pid {})", numbers[0], members[0]->main.pid);
        lines.push_back(cut(who + " " + text, std::max<std::size_t>(share, 60)));
    }
    if (!chips.empty())
        lines.push_back(cut("GPUs: " + chips, 190));
    return cut(join(lines, "\n"), max_evidence_summary_bytes);
}

} // namespace trainctl

#include "agent/head_step.h"
#include "agent/log_writer.h"
#include "agent/node_checks.h"
#include "agent/node_generation.h"
#include "agent/node_setup.h"
#include "agent/rank_output.h"
#include "eventually.h"
#include "support/temp_dir.h"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <sys/stat.h>
#include <filesystem>
#include <fstream>
#include <sstream>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

std::string slurp(const std::string &path) {
    std::ifstream in{path};
    std::stringstream out;
    out << in.rdbuf();
    return out.str();
}

} // namespace

TEST_CASE("output: bytes become lines however they come") {
    const std::string text = "one\ntwo\r\nbar 1%\rbar 2%\r\n\nlast";
    for (std::size_t piece = 1; piece <= text.size(); ++piece) {
        CAPTURE(piece);
        LineSplitter splitter;
        std::vector<std::string> lines;
        for (std::size_t at = 0; at < text.size(); at += piece)
            for (auto &line : splitter.add(std::string_view{text}.substr(at, piece)))
                lines.push_back(line);
        for (auto &line : splitter.end())
            lines.push_back(line);
        CHECK(lines == std::vector<std::string>{"one", "two", "bar 1%", "bar 2%", "", "last"});
    }
}

TEST_CASE("output: megabytes without a newline are one bounded line") {
    LineSplitter splitter;
    for (int i = 0; i < 300; ++i)
        CHECK(splitter.add(std::string(10000, 'x')).empty());
    const auto lines = splitter.add("\n");
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].size() < max_line_bytes + 100);
    CHECK(lines[0].find("[2991808 bytes cut]") != std::string::npos);
}

TEST_CASE("output: the last lines, more of them with a traceback") {
    LastLines last;
    for (int i = 0; i < 100; ++i)
        last.add("line " + std::to_string(i));
    CHECK(last.lines().size() == 20);
    CHECK(last.lines().back() == "line 99");
    last.add("Traceback (most recent call last):");
    for (int i = 0; i < 25; ++i)
        last.add("  frame");
    CHECK(last.lines().size() == 30);
    last.add(std::string(5000, 'y') + "\xff");
    CHECK(last.lines().back().size() == max_kept_line_bytes);
}

TEST_CASE("output: progress by named groups, whatever stands around them") {
    const ProgressScan scan{{R"(step (?P<step>\d+).*loss (?P<loss>[-0-9.e]+))", R"((?P<rate>[0-9.]+) it/s)", "broken ("}};
    auto found = scan.scan("[x] step 120/500 loss 2.5e-1 at 3.5 it/s");
    CHECK(found.step == 120);
    CHECK(found.loss == doctest::Approx(0.25));
    CHECK(found.rate == doctest::Approx(3.5));
    CHECK(!scan.scan("nothing here").any());
    CHECK(!scan.scan("step 99999999999999999999999 loss x").step);
}

TEST_CASE("output: a log rotates, and a disk that is full drops lines and never blocks") {
    TempDir dir;
    {
        LogWriter log{{1000, 2, 1u << 20}};
        for (int i = 0; i < 100; ++i) {
            log.write(dir / "logs/a.log", std::string(99, 'x'));
            REQUIRE(log.drain(10s));
        }
        CHECK(log.dropped_lines() == 0);
    }
    CHECK(std::filesystem::exists(dir / "logs/a.log.2"));
    CHECK(!std::filesystem::exists(dir / "logs/a.log.3"));
    CHECK(std::filesystem::file_size(dir / "logs/a.log.1") == 1000);

    LogWriter full;
    full.write("/dev/full", "lost");
    REQUIRE(full.drain(10s));
    CHECK(full.dropped_lines() == 1);

    ::signal(SIGPIPE, SIG_IGN); // as the agents do
    // A reader that never reads stands for a file system that hangs.
    std::filesystem::create_directory(dir / "hang");
    REQUIRE(::mkfifo((dir / "hang/a.log").c_str(), 0600) == 0);
    LogWriter hanging{{1000, 2, 10000}};
    for (int i = 0; i < 1000; ++i)
        hanging.write(dir / "hang/a.log", std::string(99, 'x'));
    CHECK(hanging.dropped_lines() > 0);
    Fd reader{::open((dir / "hang/a.log").c_str(), O_RDONLY | O_NONBLOCK)}; // lets its thread go on
}

TEST_CASE("output: a log says what it lost once it can be written again") {
    TempDir dir;
    std::ofstream{dir / "blocked"} << "a file where a folder must be";
    LogWriter log;
    for (int i = 0; i < 3; ++i) {
        log.write(dir / "blocked/a.log", "lost");
        REQUIRE(log.drain(10s));
    }
    std::filesystem::remove(dir / "blocked");
    log.write(dir / "blocked/a.log", "kept");
    REQUIRE(log.drain(10s));
    CHECK(slurp(dir / "blocked/a.log") == "[trainctl: 3 lines could not be written here]\nkept\n");
}

TEST_CASE("environment: what belongs to the agents' step never reaches ranks") {
    const Environment out = without_launcher_variables({{"PATH", "p"}, {"SLURM_PROCID", "0"}, {"SLURMD_NODENAME", "n"}, {"PMI_RANK", "0"},
                                                        {"PMIX_RANK", "0"}, {"OMPI_COMM_WORLD_RANK", "0"}, {"CUDA_VISIBLE_DEVICES", "0,1"},
                                                        {"SBATCH_X", "1"}, {"SRUN_DEBUG", "3"}});
    CHECK(out == Environment{{"PATH", "p"}, {"CUDA_VISIBLE_DEVICES", "0,1"}});
}

TEST_CASE("environment: a captured one keeps newlines and functions, not the shell's own") {
    using namespace std::string_literals;
    const auto out = parse_environment("A=x\ny\0BASH_FUNC_f%%=() {  echo hi\n}\0_=/bin/env\0SHLVL=2\0B=a=b\0EMPTY=\0"s);
    CHECK(out == Environment{{"A", "x\ny"}, {"BASH_FUNC_f%%", "() {  echo hi\n}"}, {"B", "a=b"}, {"EMPTY", ""}});
}

TEST_CASE("node: Slurm's counts by node, shares of CPUs, signals by name") {
    CHECK(count_for_node("8(x3),4", 0) == 8);
    CHECK(count_for_node("8(x3),4", 2) == 8);
    CHECK(count_for_node("8(x3),4", 3) == 4);
    CHECK(count_for_node("8(x3),4", 4) == 0);
    CHECK(count_for_node("", 0) == 0);
    CHECK(share_cpus({0, 1, 2, 3, 4}, 2) == std::vector<std::vector<int>>{{0, 1}, {2, 3, 4}});
    CHECK(share_cpus({0, 1}, 3).empty());
}

TEST_CASE("node: a cgroup that allows less memory than Slurm says that the job has is told") {
    CHECK(job_memory_mib({{"SLURM_MEM_PER_NODE", "64000"}}) == 64000);
    CHECK(job_memory_mib({{"SLURM_MEM_PER_CPU", "2000"}, {"SLURM_JOB_CPUS_PER_NODE", "8(x3),4"}}) == 8000);
    CHECK(job_memory_mib({{"SLURM_MEM_PER_NODE", "0"}}) == 0); // all of the node's
    CHECK(job_memory_mib({{"SLURM_MEM_PER_CPU", "2000"}}) == 0);
    CHECK(memory_problem(64000, 8000).find("8.4 GB of memory here, but the job has 67 GB") != std::string::npos);
    for (const auto &[given, limit] : std::vector<std::pair<std::uint64_t, std::optional<std::uint64_t>>>{{64000, 64000}, {64000, 60000}, {64000, std::nullopt}, {0, 100}})
        CHECK(memory_problem(given, limit).empty());
}

TEST_CASE("step: srun gets each node once, and nothing of the job's narrows it") {
    HeadPlan plan;
    plan.paths = {"/root", {"r"}};
    plan.attempt = {3};
    plan.nodes = {"n1", "n3"};
    plan.tools.srun = "/usr/bin/srun";
    const auto command = step_command(plan, "/bin/agent");
    CHECK(command.front() == "/usr/bin/srun");
    for (const char *word : {"--overlap", "--no-kill", "--nodes=2", "--ntasks=2", "--nodelist=n1,n3", "--input=all", "--mem=0"})
        CHECK(std::count(command.begin(), command.end(), word) == 1);
    plan.tools.slurm_conf = "/etc/slurm/x.conf";
    const auto environment = step_environment({{"SLURM_JOB_ID", "7"}, {"SLURM_MEM_PER_CPU", "1"}, {"SLURM_NTASKS", "1"}, {"SLURM_NTASKS_PER_NODE", "1"},
                                               {"SLURM_CPU_BIND_TYPE", "x"}, {"SLURM_EXPORT_ENV", "NONE"}, {"PATH", "p"}}, plan.tools);
    CHECK(environment == Environment{{"SLURM_JOB_ID", "7"}, {"PATH", "p"}, {"SLURM_CONF", "/etc/slurm/x.conf"}});
}

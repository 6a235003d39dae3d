// One job of anybody's: what scontrol and sacct of several versions say of it, and where its output is.
#include "slurm/job_details.h"

#include "fixtures.h"

#include <doctest/doctest.h>

using namespace trainctl;

namespace {

JobAddress address(const char *text) {
    const auto parsed = parse_job_address(text);
    REQUIRE(parsed);
    return *parsed;
}

// "a|b|c" as sacct prints it with our separator.
std::string row(std::string text) {
    for (auto &c : text)
        c = c == '|' ? '\x1f' : c;
    return text + "\n";
}

CommandResult answer(int code, std::string out, std::string err = "") { return {code, std::move(out), std::move(err), false}; }

const std::string forgotten = "slurm_load_jobs error: Invalid job id specified";

} // namespace

TEST_CASE("job address: jobs, tasks and components as squeue shows them, and nothing else") {
    CHECK(address("12345") == JobAddress{JobId{12345}, {}, {}});
    CHECK(address("12345_7") == JobAddress{JobId{12345}, 7, {}});
    CHECK(address("12345+1") == JobAddress{JobId{12345}, {}, 1});
    for (const char *text : {"12345", "12345_7", "12345+1", "12345_0"})
        CHECK(to_string(address(text)) == text);
    for (const char *text : {"", "x", "12345_", "_7", "12345_x", "12345.0", "12345+", "12345_[1-3]", "-1", "12345 7", "12;rm"}) {
        CAPTURE(text);
        CHECK(!parse_job_address(text));
    }
}

TEST_CASE("job details: what scontrol says of a job, its codes and its files") {
    const auto found = details_of_scontrol(fixture("scontrol_show_job_oneline.txt"));
    const auto of = [&](std::uint64_t id) {
        const auto *job = &found.front();
        for (const auto &one : found)
            job = one.own.value == id ? &one : job;
        REQUIRE(job->own.value == id);
        return *job;
    };
    CHECK(of(33).state == "FAILED");
    CHECK(of(33).exit_code == 3);
    CHECK(of(33).reason == "NonZeroExitCode");
    CHECK(of(33).user == "user");
    CHECK(of(33).nodes == "n2");
    CHECK(of(33).out == "/dev/null");
    CHECK(of(33).err == of(33).out);
    CHECK(of(29).state == "TIMEOUT");
    CHECK(of(29).exit_signal == 9);
    CHECK(of(29).ended > of(29).started);
    CHECK(ended_badly(of(29)));
    CHECK(!ended_badly(of(28)));
    CHECK(!ended_badly(of(30)));
    const auto derived = details_of_scontrol("JobId=7 JobName=a b UserId=u(1) JobState=COMPLETED Reason=None Dependency=(null) Requeue=1 Restarts=2 ExitCode=0:0 DerivedExitCode=2:0 NodeList=n1 "
                                             "BatchHost=n1.site JOB_GRES=(null) Nodes=n1 CPU_IDs=0 Mem=1 GRES= WorkDir=/home/u StdErr=/home/u/e%j.%x StdIn=/dev/null "
                                             "StdOut=out-%N.log Power=\n");
    REQUIRE(derived.size() == 1);
    CHECK(derived[0].step_code == 2);
    CHECK(derived[0].restarts == 2);
    CHECK(derived[0].out == "/home/u/out-n1.log");
    CHECK(derived[0].err == "/home/u/e7.a b");
}

TEST_CASE("job details: of an array or a heterogeneous job the one that was asked for, or the first that ended badly") {
    const auto array = details_of_scontrol("JobId=20 ArrayJobId=20 ArrayTaskId=5-9%2 JobState=PENDING\n\nJobId=21 ArrayJobId=20 ArrayTaskId=0 JobState=COMPLETED\n\n"
                                           "JobId=22 ArrayJobId=20 ArrayTaskId=1 JobState=FAILED ExitCode=1:0 StdOut=/o/%A_%4a.out\n\nJobId=23 ArrayJobId=20 ArrayTaskId=2 JobState=TIMEOUT\n");
    REQUIRE(array.size() == 4);
    CHECK(to_string(job_to_look_at(array, address("20"))->address) == "20_1");
    CHECK(job_to_look_at(array, address("20"))->out == "/o/20_0001.out");
    CHECK(job_to_look_at(array, address("20_2"))->own == JobId{23});
    CHECK(job_to_look_at(array, address("20_7")) == nullptr);
    CHECK(job_to_look_at({}, address("20")) == nullptr);
    const auto het = details_of_scontrol("JobId=30 HetJobId=30 HetJobOffset=0 JobState=RUNNING\n\nJobId=31 HetJobId=30 HetJobOffset=1 JobState=RUNNING\n");
    REQUIRE(het.size() == 2);
    CHECK(to_string(job_to_look_at(het, address("30"))->address) == "30+0");
    CHECK(job_to_look_at(het, address("30+1"))->own == JobId{31});
    CHECK(scontrol_arguments(address("30+1")).back() == "30");
    CHECK(scontrol_arguments(address("30_1")).back() == "30_1");
    // Asked for by the number that the task has of its own.
    const auto one = details_of_scontrol("JobId=22 ArrayJobId=20 ArrayTaskId=1 JobState=FAILED\n");
    CHECK(to_string(job_to_look_at(one, address("22"))->address) == "20_1");
}

TEST_CASE("job details: sacct's columns of three ages; where they have no files, sbatch's own arguments and its default") {
    const std::string basic = "40_3|44|train|me|CANCELLED by 1000|0:0|0:125|1795381435|1795381436|1795381440|n[1-2]";
    const auto newest = details_of_sacct(row(basic + "|/w|None|/w/o-44.txt|/w/e-44.txt|sbatch job.sh"), 0);
    REQUIRE(newest.size() == 1);
    CHECK(to_string(newest[0].address) == "40_3");
    CHECK(newest[0].own == JobId{44});
    CHECK(newest[0].state == "CANCELLED");
    CHECK(newest[0].cancelled_by == 1000u);
    CHECK(newest[0].step_signal == 125);
    CHECK(newest[0].out == "/w/o-44.txt");
    CHECK(newest[0].err == "/w/e-44.txt");
    CHECK(!newest[0].out_guessed);
    struct Case { const char *line, *out, *err; };
    for (const auto &[line, out, err] : {Case{"sbatch job.sh", "/w/slurm-40_3.out", "/w/slurm-40_3.out"}, Case{"sbatch -o %j.log job.sh", "/w/44.log", "/w/44.log"},
                                         Case{"sbatch -oa.log -e b.log job.sh", "/w/a.log", "/w/b.log"}, Case{"sbatch --output=/x/%u --error=e job.sh", "/x/me", "/w/e"},
                                         Case{"sbatch --wrap=a\nb -o c", "/w/slurm-40_3.out", "/w/slurm-40_3.out"}}) {
        CAPTURE(line);
        const auto middle = details_of_sacct(row(basic + "|/w|None|" + line), 1);
        REQUIRE(middle.size() == 1);
        CHECK(middle[0].out_guessed);
        CHECK(middle[0].out == out);
        CHECK(middle[0].err == err);
    }
    const auto oldest = details_of_sacct("a banner\n" + row(basic) + row("50|50|b|me|COMPLETED|0:0|0:0|1|2|3|None assigned"), 2);
    REQUIRE(oldest.size() == 2);
    CHECK(oldest[0].out.empty());
    CHECK(oldest[1].nodes.empty());
}

TEST_CASE("job details: names of output files with all placeholders of sbatch") {
    JobDetails job;
    job.address = address("40_13");
    job.own = JobId{44};
    job.name = "train";
    job.user = "me";
    job.nodes = "gpu[03-05]";
    struct Case { const char *pattern, *wanted; };
    for (const auto &[pattern, wanted] : {
             Case{"slurm-%j.out", "slurm-44.out"}, Case{"%A_%a", "40_13"}, Case{"%4a|%3j|%99j", "0013|044|0000000044"}, Case{"%x-%u-%N", "train-me-gpu03"},
             Case{"%J.%n.%t.%s.%b", "44.0.0.batch.3"}, Case{"100%%j", "100%j"}, Case{"a%", "a%"}, Case{"%q%5q", "%q%5q"}, Case{"a\\%j", "a%j"}, Case{"", ""}, Case{"%12", "%12"}}) {
        CAPTURE(pattern);
        CHECK(expand_output_name(pattern, job) == wanted);
    }
    job.batch_host = "head.site.org";
    CHECK(expand_output_name("%N", job) == "head");
    job.address = address("44");
    CHECK(expand_output_name("%A_%a", job) == "44_4294967294");
}

TEST_CASE("asking for a job: the controller first, accounting where it has forgotten, and plain words where nobody knows") {
    std::vector<std::string> asked;
    CommandResult scontrol = answer(0, "JobId=33 JobState=FAILED ExitCode=3:0\n"), sacct = answer(0, "");
    const RunSlurm run = [&](const std::vector<std::string> &argv) -> Result<CommandResult> {
        asked.push_back(argv.at(0));
        return argv.at(0) == "scontrol" ? scontrol : sacct;
    };
    auto found = ask_for_job(address("33"), run);
    REQUIRE(found.ok());
    CHECK((*found)[0].exit_code == 3);
    CHECK(asked == std::vector<std::string>{"scontrol"});

    scontrol = answer(1, "", forgotten);
    sacct = answer(0, row("33|33|a|me|FAILED|1:0|0:0|1|2|3|n1|/w|None|/w/o||sbatch x"));
    found = ask_for_job(address("33"), run);
    REQUIRE(found.ok());
    CHECK((*found)[0].evidence == "sacct");

    sacct = answer(0, "");
    found = ask_for_job(address("33"), run);
    REQUIRE(!found.ok());
    CHECK(found.error().kind == ErrorKind::not_found);
    CHECK(found.error().message.find("Slurm does not know job 33: its controller has forgotten it, or never had it, and accounting has no record of it") == 0);

    sacct = answer(1, "", "Slurm accounting storage is disabled");
    found = ask_for_job(address("33"), run);
    REQUIRE(!found.ok());
    CHECK(found.error().kind == ErrorKind::not_found);
    CHECK(found.error().message.find("accounting could not be asked: Slurm accounting storage is disabled") != std::string::npos);

    scontrol = answer(1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)");
    found = ask_for_job(address("33"), run);
    REQUIRE(!found.ok());
    CHECK(found.error().kind == ErrorKind::unreachable);
}

TEST_CASE("asking for a job: a column that this version lacks is left out, and a lost link is no answer") {
    int sets = 0;
    const RunSlurm old = [&](const std::vector<std::string> &argv) -> Result<CommandResult> {
        if (argv.at(0) == "scontrol")
            return answer(1, "", forgotten);
        ++sets;
        if (argv.back().find("SubmitLine") != std::string::npos)
            return answer(1, "", "sacct: error: Invalid field requested: \"SubmitLine\"");
        return answer(0, row("33|33|a|me|FAILED|1:0|0:0|1|2|3|n1"));
    };
    const auto found = ask_for_job(address("33"), old);
    REQUIRE(found.ok());
    CHECK(sets == sacct_column_sets);
    CHECK((*found)[0].state == "FAILED");
    const RunSlurm lost = [](const auto &) -> Result<CommandResult> { return Error{ErrorKind::unreachable, "gone", "", ""}; };
    CHECK(ask_for_job(address("33"), lost).error().message == "gone");
    const RunSlurm hangs = [](const auto &argv) -> Result<CommandResult> {
        return argv.at(0) == "scontrol" ? Result<CommandResult>{Error{ErrorKind::timeout, "late", "", ""}}
                                        : Result<CommandResult>{answer(0, row("33|33|a|me|FAILED|1:0|0:0|1|2|3|n1|/w|None|||x"))};
    };
    CHECK(ask_for_job(address("33"), hangs).ok());
}

// A rank that the kernel kills for want of memory, with real processes: the head, two agents, one of them in a memory cgroup with a
// limit, and whoever judges.
#include "agent/failure_judge.h"
#include "attempt_flow.h"
#include "support/memory_cgroup.h"

using namespace trainctl;

namespace {

struct LimitedAttempt : Attempt {
    LimitedAttempt(const std::string &script, const std::string &cgroup) : Attempt(staying + script) {
        std::ofstream{dir / "cgroup.n2"} << cgroup;
        plan.judged = true;
        judge = [paths = plan.paths](const FailureFacts &facts) {
            PosixFiles files;
            FailureJudge it{files, {paths, {1}, {}, paths.dir(), 0, builtin_failures()}};
            const auto failure = it.judge(facts, std::nullopt);
            CHECK(it.remembered(60s));
            return failure;
        };
    }
    Failure failure() {
        start();
        const auto outcome = finish();
        INFO(slurp(plan.paths.attempt_file(plan.attempt, "logs/agent.log")));
        CHECK(outcome.kind == OutcomeKind::rank_failed);
        REQUIRE(outcome.history.size() == 1);
        return outcome.history.front();
    }
};

constexpr long limit_mib = 800; // with sanitizers an agent and its guard take 240; what is killed must be larger than either

} // namespace

TEST_CASE("flow: a rank that the kernel killed for want of memory is told so, by its node's count") {
    const MemoryCgroup1 cgroup{"job_77", limit_mib};
    if (!cgroup.is_there())
        return;
    const auto failure = LimitedAttempt{"[ $RANK = 2 ] && exec tail /dev/zero; sleep 2031", cgroup.folder()}.failure();
    CHECK(failure.failure_class == "host-oom");
    CHECK(failure.confidence > .9);
    CHECK(failure.suspects.empty()); // it asked for too much; no node is to blame
    REQUIRE(!failure.evidence.empty());
    CHECK(failure.evidence.front().source == "agent on n2");
    CHECK(failure.evidence.front().text == "the kernel killed a process for want of memory (oom_kill in " + cgroup.folder() + "/memory.oom_control)");
}

TEST_CASE("flow: a data loader that the kernel killed is the cause, whatever its rank says and how it ends") {
    const MemoryCgroup1 cgroup{"job_77", limit_mib};
    if (!cgroup.is_there())
        return;
    const auto failure = LimitedAttempt{"[ $RANK = 3 ] && { tail /dev/zero; echo 'RuntimeError: a worker exited unexpectedly' >&2; exit 1; }; sleep 2032",
                                        cgroup.folder()}.failure();
    CHECK(failure.failure_class == "host-oom");
    CHECK(failure.evidence.front().source == "agent on n2");
}

TEST_CASE("flow: where every node could look and the kernel killed nobody, a killed worker is no out-of-memory") {
    const MemoryCgroup1 cgroup{"job_77", limit_mib};
    if (!cgroup.is_there())
        return;
    const std::string words = "echo 'RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed.' >&2; ";
    const auto failure = LimitedAttempt{"[ $RANK = 2 ] && { " + words + "kill -9 $$; }; sleep 2033", cgroup.folder()}.failure();
    CHECK(failure.failure_class == "killed");
}

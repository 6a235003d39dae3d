#include "agent/spawn.h"
#include "support/temp_dir.h"

#include <doctest/doctest.h>
#include <fstream>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace trainctl;

namespace {

constexpr rlim_t small = 100;

// Of a process of its own: limits are those of a whole process.
[[noreturn]] void raise_and_spawn(const std::string &file) {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = small;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    raise_file_limit();
    raise_file_limit(); // and again changes nothing
    rlimit raised{};
    ::getrlimit(RLIMIT_NOFILE, &raised);
    const auto child = spawn({{"/bin/sh", "-c", "ulimit -Sn >" + file}, own_environment()});
    if (child)
        ::waitpid(*child, nullptr, 0);
    ::_exit(raised.rlim_cur == limit.rlim_max && child ? 0 : 1);
}

} // namespace

TEST_CASE("spawn: who raised its limit of open files starts programs with the one it had") {
    rlimit limit{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
    REQUIRE(limit.rlim_max > small);
    const TempDir dir;
    const pid_t process = ::fork();
    if (process == 0)
        raise_and_spawn(dir / "limit");
    int status = -1;
    REQUIRE(::waitpid(process, &status, 0) == process);
    CHECK(status == 0);
    std::ifstream in{dir / "limit"};
    rlim_t seen = 0;
    in >> seen;
    CHECK(seen == small);
}

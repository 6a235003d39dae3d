#include "slurm/hostlist.h"

#include "base/text.h"

#include <doctest/doctest.h>

using namespace trainctl;

TEST_CASE("hostlist: expands as scontrol show hostnames does") {
    struct Case { const char *list, *hosts; };
    const Case cases[] = {
        {"", ""},
        {"n1", "n1"},
        {"n[1-3,7],gpu-[08-10]-x", "n1,n2,n3,n7,gpu-08-x,gpu-09-x,gpu-10-x"},
        {"n[9-11]", "n9,n10,n11"},
        {"n[009-011]", "n009,n010,n011"},
        {"[5-6],a", "5,6,a"},
        {"n[1-2,2-3]", "n1,n2,n2,n3"},
        {"a[0-1]b[2-3]", "a0b2,a0b3,a1b2,a1b3"},
        // Slurm unfolds all but the last bracket from right to left.
        {"a[0-1]b[2-3]c[4-5]", "a0b2c4,a0b2c5,a1b2c4,a1b2c5,a0b3c4,a0b3c5,a1b3c4,a1b3c5"},
        {"n1, n2\tn3,", "n1,n2,n3"},
        {"(null)", ""},
        {"None assigned", ""},
    };
    for (const auto &[list, hosts] : cases) {
        CAPTURE(list);
        const auto expanded = expand_hostlist(list);
        REQUIRE(expanded.ok());
        CHECK(join(*expanded, ",") == hosts);
    }
}

TEST_CASE("hostlist: bad and too large lists are errors") {
    for (const char *list : {"n[", "n[1-", "n[1-3", "n[]", "n[3-1]", "n[a-b]", "n[-5]", "n[1-3]]", "n]", "n[[1-2]]", "n[1-]",
                             "n[1-99999999]", "n[0-9999]x[0-9999]", "n[99999999999999999999]",
                             "a[1-2]b[1-2]c[1-2]d[1-2]e[1-2]f[1-2]g[1-2]h[1-2]i[1-2]"}) {
        CAPTURE(list);
        const auto expanded = expand_hostlist(list);
        REQUIRE_FALSE(expanded.ok());
        CHECK(expanded.error().kind == ErrorKind::invalid);
        CHECK(expanded.error().message.find("host list") != std::string::npos);
    }
    CHECK(expand_hostlist("n[1-65536]").ok());
    CHECK_FALSE(expand_hostlist("n[1-65536],n1").ok());
}

TEST_CASE("hostlist: compresses neighbours only") {
    CHECK(compress_hostlist({}) == "");
    CHECK(compress_hostlist({"n1"}) == "n1");
    CHECK(compress_hostlist({"n1", "n2", "n4"}) == "n[1-2,4]");
    CHECK(compress_hostlist({"n09", "n10", "n011"}) == "n[09-10,011]");
    CHECK(compress_hostlist({"n9", "n10", "m1", "n11"}) == "n[9-10],m1,n11");
    CHECK(compress_hostlist({"a", "b", "n1.x"}) == "a,b,n1.x");
    CHECK(compress_hostlist({"n123456789012345678901"}) == "n123456789012345678901");
}

TEST_CASE("hostlist: what is compressed expands to the same") {
    const std::vector<std::string> hosts{"n1", "n2", "n2", "n007", "n008", "rack1-n10", "rack1-n11", "login", "5", "6"};
    const auto again = expand_hostlist(compress_hostlist(hosts));
    REQUIRE(again.ok());
    CHECK(*again == hosts);
}

#include "recovery/node_memory.h"

#include "support/temp_dir.h"

#include <doctest/doctest.h>

using namespace trainctl;

namespace {

NodeNote note(const char *node, bool proven, std::int64_t until, int generation = 1, const char *run = "gpt-a-b2k9x") {
    return {node, run, 2, generation, proven, until, "gpu-ecc", "it's said: \"ECC\"\n", 50};
}

using Names = std::set<std::string>;

} // namespace

TEST_CASE("node memory: a file's name says what deciding needs") {
    for (const char *node : {"n1", "gpu-3.cluster.example", "a-1-2.b"}) {
        const auto name = note_file_name(note(node, true, 1234));
        CAPTURE(name);
        const auto read = parse_note_file_name(name);
        REQUIRE(read);
        CHECK(read->node == node);
        CHECK(read->run == "gpt-a-b2k9x");
        CHECK(read->attempt == 2);
        CHECK(read->generation == 1);
        CHECK(read->proven);
        CHECK(read->until == 1234);
    }
    for (const char *name : {"", "x", ".json", "12.proof.json", "12.proof.run-1-1.json", "12.proof.run-1-1..json", "x.proof.run-1-1.n1.json",
                             "12.sure.run-1-1.n1.json", "12.proof.run-1.n1.json", "12.proof.run-1-1.n1", "12.proof.run-1-1.n1.json.tmp.1"}) {
        CAPTURE(name);
        CHECK(!parse_note_file_name(name));
    }
}

TEST_CASE("node memory: what is noted is there until it is over, and is removed then") {
    TempDir dir;
    PosixFiles files;
    CHECK(remembered_nodes(files, dir.path(), 100).value().empty());
    REQUIRE(remember_node(files, dir.path(), note("n1", true, 200), 100));
    REQUIRE(remember_node(files, dir.path(), note("n1", true, 200), 100)); // the same again
    REQUIRE(remember_node(files, dir.path(), note("n2", false, 300), 100));
    REQUIRE(remember_node(files, dir.path(), note("", false, 300), 100));  // not a node
    REQUIRE(remember_node(files, dir.path(), note("a/b", false, 300), 100));
    REQUIRE(remember_node(files, dir.path(), note("n3", false, 100), 100)); // for no time
    CHECK(remembered_nodes(files, dir.path(), 100).value().size() == 2);
    const auto read = read_remembered_nodes(files, dir.path(), 199).value();
    REQUIRE(read.size() == 2);
    CHECK(read[0].why == "it's said: \"ECC\"\n");
    CHECK(read[0].failure_class == "gpu-ecc");
    CHECK(read[0].when == 50);
    CHECK(remembered_nodes(files, dir.path(), 200).value().size() == 1);
    REQUIRE(remember_node(files, dir.path(), note("n4", false, 500), 200));
    CHECK(files.list(dir.path() + "/nodes").value().size() == 2); // n1's is gone
    CHECK(forget_nodes(files, dir.path(), {"n2", "n9"}).value() == 1);
    CHECK(forget_nodes(files, dir.path(), {}).value() == 1);
    CHECK(remembered_nodes(files, dir.path(), 0).value().empty());
}

TEST_CASE("node memory: avoided are proven ones, and those named twice, the newest ones where they are too many") {
    std::vector<NodeNote> notes{note("n1", true, 900), note("n2", false, 900), note("n3", false, 800, 1), note("n3", false, 810, 2),
                                note("n4", false, 700, 1, "a"), note("n4", false, 710, 1, "b")};
    CHECK(times_named(notes).at("n4") == 2);
    CHECK(nodes_to_avoid(notes, 16) == Names{"n1", "n3", "n4"});
    CHECK(nodes_to_avoid(notes, 1) == Names{"n1", "n3"});
    CHECK(nodes_to_avoid(notes, 0) == Names{"n1"});
}

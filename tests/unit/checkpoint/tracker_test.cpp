// What `latest` and latest_checkpointed_iteration.txt say, and what is done where they say something else than was chosen.
#include "checkpoint/tracker.h"

#include "unit/checkpoint/saved.h"

#include <chrono>
#include <filesystem>
#include <fmt/format.h>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

using F = CheckpointFormat;

struct Tracked {
    const char *folder, *saved; // as make_saves.py made it
    F format;
    const char *name, *tracker;
    std::string named(int step) const { return fmt::format(fmt::runtime(name), step); }
    std::string told(int step) const { return format == F::deepspeed ? named(step) : std::to_string(step); }
};
const std::vector<Tracked> tracked = {{"deepspeed-2", "global_step7", F::deepspeed, "global_step{}", deepspeed_tracker},
                                      {"megatron", "iter_0000007", F::megatron, "iter_{:07}", megatron_tracker},
                                      {"megatron-dist", "iter_0000007", F::megatron, "iter_{:07}", megatron_tracker},
                                      {"megatron-dcp", "iter_0000007", F::megatron, "iter_{:07}", megatron_tracker}};

void save(const TempDir &dir, const Tracked &one, int step) {
    for (const auto &[path, content] : saves().folder(one.folder).files) {
        const auto file = path.starts_with(one.saved) ? dir / one.named(step) + path.substr(std::string{one.saved}.size()) : dir / path;
        REQUIRE(PosixFiles{}.make_dirs(parent_path(file)));
        std::ofstream{file, std::ios::binary} << (path == one.tracker ? one.told(step) : content);
    }
}

CheckpointChoice chosen(const TempDir &dir, F format) {
    Checkpoint spec;
    spec.format = format;
    auto choice = newest_complete(dir.path(), spec);
    REQUIRE(choice);
    return *choice;
}

std::string text_of(const std::string &path) { return PosixFiles{}.read(path).value().value_or("nothing"); }

} // namespace

TEST_CASE("tracker: it is made to name what a training goes on from, and what was saved after that does not count") {
    for (const auto &one : tracked)
        for (const auto format : {one.format, F::automatic}) {
            CAPTURE(one.folder);
            const TempDir dir{memory_folder()};
            PosixFiles files;
            for (const int step : {5, 10, 20})
                save(dir, one, step);
            // The tracker names 20, which is broken.
            const auto broken = dir / one.named(20);
            std::filesystem::path cut;
            for (const auto &entry : std::filesystem::recursive_directory_iterator{broken})
                if (entry.is_regular_file() && (cut.empty() || entry.path() < cut))
                    cut = entry.path();
            const auto whole = text_of(cut);
            std::filesystem::resize_file(cut, 1);
            const auto choice = chosen(dir, format);
            REQUIRE(choice.newest);
            CHECK(choice.newest->step == 10);
            const auto aimed = aim_tracker(files, dir.path(), *choice.newest);
            REQUIRE(aimed);
            REQUIRE(*aimed);
            CHECK((*aimed)->before == one.told(20));
            CHECK((*aimed)->now == one.told(10));
            CHECK(text_of(dir / one.tracker) == one.told(10));
            CHECK(!*aim_tracker(files, dir.path(), *choice.newest)); // once is enough
            // What a killed generation had not yet written comes late: the run went on from 10, and 20 is not its own.
            std::ofstream{cut, std::ios::binary} << whole;
            CHECK(chosen(dir, format).newest->step == 10);
            save(dir, one, 20);
            CHECK(chosen(dir, format).newest->step == 20);
        }
}

TEST_CASE("tracker: one that is damaged, missing or names what was put aside is made to name what was chosen") {
    for (const auto &one : tracked)
        for (const auto &said : {std::string{""}, std::string{"glob"}, one.told(20), std::string{"nothing"}}) {
            CAPTURE(one.folder);
            CAPTURE(said);
            const TempDir dir{memory_folder()};
            PosixFiles files;
            for (const int step : {5, 10, 20})
                save(dir, one, step);
            REQUIRE(files.rename(dir / one.named(20), dir / (one.named(20) + ".rolled-back")));
            if (said == "nothing")
                REQUIRE(files.remove(dir / one.tracker));
            else
                std::ofstream{dir / one.tracker} << said;
            const auto choice = chosen(dir, one.format);
            REQUIRE(choice.newest);
            // After 20 was put aside, `latest` still names it: that is no doubt of 10.
            CHECK(choice.newest->step == (said == one.told(20) ? 10 : 5));
            REQUIRE(aim_tracker(files, dir.path(), *choice.newest));
            CHECK(text_of(dir / one.tracker) == one.told(static_cast<int>(choice.newest->step)));
        }
}

TEST_CASE("tracker: checkpoints of formats without one, and of other folders, leave it alone") {
    const TempDir dir{memory_folder()};
    PosixFiles files;
    CheckpointSeen seen{.path = dir / "step-7", .step = 7, .why_not = "", .format = "dcp"};
    CHECK(!*aim_tracker(files, dir.path(), seen));
    seen.format = "megatron";
    seen.path = dir / "elsewhere/iter_0000007";
    CHECK(!*aim_tracker(files, dir.path(), seen));
    CHECK(files.list(dir.path())->empty());
}

TEST_CASE("tracker: who could read it before can read it after") {
    const TempDir dir{memory_folder()};
    PosixFiles files;
    std::ofstream{dir / deepspeed_tracker} << "global_step9";
    const auto mode = std::filesystem::perms{0664};
    std::filesystem::permissions(dir / deepspeed_tracker, mode);
    const auto with_slash = dir.path() + "/";
    REQUIRE(*aim_tracker(files, with_slash, {.path = with_slash + "global_step7", .step = 7, .why_not = "", .format = "deepspeed"}));
    CHECK(text_of(dir / deepspeed_tracker) == "global_step7");
    CHECK(std::filesystem::status(dir / deepspeed_tracker).permissions() == mode);
}

TEST_CASE("tracker: a save into the checkpoint that it names, at each of its moments") {
    for (const auto &one : tracked) {
        CAPTURE(one.folder);
        const auto folder = saves().folder(one.folder);
        auto facts = folder.facts(one.saved);
        auto around = std::make_shared<Surroundings>(*facts.around);
        const WallTime then{1000s};
        around->written[one.tracker] = then;
        facts.around = around;
        std::string first;
        for (const auto &[file, size] : facts.files) {
            first = first.empty() && (file.ends_with(".pt") || file.ends_with(".distcp")) ? file : first;
            facts.written[file] = then + (file == first ? 3s : -3s);
        }
        facts.written["added.json"] = then + 10min; // others' files may come later
        Checkpoint spec;
        spec.format = one.format;
        CHECK(judge(spec, facts).why_not == "");
        // Its first file was written anew since the tracker was.
        facts.written[first] = then + 10min;
        CHECK(judge(spec, facts).why_not.find("is younger than") != std::string::npos);
        around->written[one.tracker] = then + 11min;
        for (auto &[file, when] : facts.written)
            when = std::max(when, then + 10min);
        CHECK(judge(spec, facts).why_not == "");
    }
}

TEST_CASE("tracker: tags of the user's own are ordered by checkpoint.pattern") {
    const TempDir dir{memory_folder()};
    const Tracked mine{"deepspeed-2", "global_step7", F::deepspeed, "mine-{}", deepspeed_tracker};
    for (const int step : {9, 10, 20})
        save(dir, mine, step);
    std::ofstream{dir / deepspeed_tracker} << "mine-10";
    Checkpoint spec;
    spec.format = F::deepspeed;
    spec.pattern = "mine-{step}";
    const auto seen = list_checkpoints(dir.path(), spec);
    REQUIRE(seen);
    REQUIRE(seen->size() == 3);
    CHECK(seen->at(0).why_not == "");
    CHECK(seen->at(1).why_not == "");
    CHECK(seen->at(2).why_not == "latest still says mine-10: its save has not ended");
}

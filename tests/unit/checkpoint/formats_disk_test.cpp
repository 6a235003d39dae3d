// The formats on a real disk: found, ordered, chosen and removed.
#include "checkpoint/retention.h"
#include "checkpoint/verified_files.h"
#include "unit/checkpoint/saved.h"

#include <filesystem>

using namespace trainctl;
namespace fs = std::filesystem;

namespace {

using F = CheckpointFormat;

void put(const std::string &path, const std::string &content) {
    fs::create_directories(fs::path{path}.parent_path());
    std::ofstream{path, std::ios::binary} << content;
}

std::string replaced(std::string text, const std::string &from, const std::string &to) {
    if (const auto at = text.rfind(from); at != std::string::npos)
        text.replace(at, from.size(), to);
    return text;
}

// The name of the same save as of another step: a one-digit 7 gives way to another number.
std::string name_of(const SavedFormat &one, int step) {
    const auto digits = std::to_string(step);
    if (one.name == "iter_0000007")
        return "iter_" + std::string(7 - digits.size(), '0') + digits;
    const auto at = one.name.find("step=7");
    return at != std::string::npos ? replaced(one.name, "step=7", "step=" + digits) : replaced(one.name, "7", digits);
}

// One save of a format under a step's name, with what lies beside it.
void save(const std::string &dir, const SavedFormat &one, int step) {
    for (const auto &[path, content] : saves().folder(one.folder).files) {
        if (path.starts_with(one.name))
            put(dir + "/" + name_of(one, step) + path.substr(one.name.size()), content);
        else
            put(dir + "/" + path, path == "latest" ? name_of(one, step) : std::to_string(step));
    }
}

std::string taken(const std::string &dir, const Checkpoint &spec) {
    const auto choice = newest_complete(dir, spec);
    REQUIRE(choice);
    return choice->newest ? base_name(choice->newest->path) : "";
}

Checkpoint spec_of(F format) {
    Checkpoint spec;
    spec.format = format;
    return spec;
}

PosixFiles &real_files() {
    static PosixFiles files;
    return files;
}

// Those that are numbered by their names.
std::vector<SavedFormat> numbered() {
    auto all = saved_formats();
    std::erase_if(all, [](const auto &one) { return one.folder == "lightning-last"; });
    return all;
}

} // namespace

TEST_CASE("formats on disk: by default names, ordered by step and not by text, the newest whole one is taken") {
    for (const auto &one : numbered()) {
        CAPTURE(one.folder);
        const TempDir dir{memory_folder()};
        for (const int step : {9, 10, 100})
            save(dir.path(), one, step);
        for (const auto format : {one.format, one.by_auto ? F::automatic : one.format}) {
            const auto seen = list_checkpoints(dir.path(), spec_of(format));
            REQUIRE(seen);
            REQUIRE(seen->size() == 3);
            CHECK(seen->at(0).step == 9);
            CHECK(seen->at(2).step == 100);
            for (const auto &each : *seen) {
                CHECK(each.why_not == "");
                CHECK(each.format == format_name(one.format));
            }
            CHECK(taken(dir.path(), spec_of(format)) == name_of(one, 100));
        }
    }
}

TEST_CASE("formats on disk: whichever file of the newest is cut or missing, the one before is taken") {
    for (const auto &one : numbered()) {
        CAPTURE(one.folder);
        const TempDir dir{memory_folder()};
        for (const int step : {9, 10})
            save(dir.path(), one, step);
        const auto newest = name_of(one, 10);
        REQUIRE(taken(dir.path(), spec_of(one.format)) == newest);
        std::vector<fs::path> files;
        if (fs::is_directory(dir / newest)) {
            for (const auto &entry : fs::recursive_directory_iterator{dir / newest})
                if (entry.is_regular_file())
                    files.push_back(entry.path());
        } else {
            files.emplace_back(dir / newest);
        }
        for (const auto &file : files) {
            CAPTURE(file.string());
            std::string content;
            {
                std::ifstream in{file, std::ios::binary};
                content = {std::istreambuf_iterator<char>{in}, {}};
            }
            fs::resize_file(file, 0);
            REQUIRE(taken(dir.path(), spec_of(one.format)) == name_of(one, 9));
            put(file.string(), content);
            REQUIRE(taken(dir.path(), spec_of(one.format)) == newest);
        }
    }
}

TEST_CASE("formats on disk: unfinished and temporary names are no checkpoints") {
    const TempDir dir;
    for (const auto &one : numbered())
        if (!fs::exists(dir / one.name))
            save(dir.path(), one, 7);
    for (const auto *name : {"10.orbax-checkpoint-tmp-12", "tmp-checkpoint-10", "step-10.tmp", ".step-10", "x--step=10-last-unfinished", "step-10.partial"})
        fs::create_directory(dir / name);
    // Whole ones under names that a * would fit: put aside by roll_back(), or left by a removal that was interrupted.
    const auto &lightning = saves().folder("lightning").files.begin()->second;
    for (const auto *name : {"epoch=1-step=10.ckpt.rolled-back", "epoch=1-step=11.ckpt.rolled-back.2", ".trainctl-removing-epoch=1-step=12.ckpt", "epoch=1-step=13.ckpt.tmp"})
        put(dir / name, lightning);
    const std::string nemo = "gpt--val_loss=1.00-step=7-consumed_samples=70.0-last";
    for (const auto &[path, content] : saves().folder("nemo").files)
        for (const std::string &name : {replaced(nemo, "step=7", "step=20") + ".rolled-back", ".trainctl-removing-" + replaced(nemo, "step=7", "step=21")})
            put(dir / name + path.substr(nemo.size()), content);
    const auto choice = newest_complete(dir.path(), {});
    REQUIRE(choice);
    REQUIRE(choice->newest);
    CHECK(choice->newest->step == 7);
    for (const auto &one : choice->refused)
        CHECK(one.step == 7);
    for (const auto format : {F::nemo, F::lightning})
        CHECK(newest_complete(dir.path(), spec_of(format))->newest->step == 7);
    Checkpoint starred;
    starred.pattern = "*step={step}*";
    CHECK(newest_complete(dir.path(), starred)->newest->path == dir / "epoch=1-step=13.ckpt.tmp"); // as the user says
}

TEST_CASE("lightning: last.ckpt counts by the step in it, and one that can't be read is the oldest") {
    const TempDir dir;
    const auto &all = saved_formats();
    save(dir.path(), all[1], 3);
    save(dir.path(), all[1], 7);
    put(dir / "last.ckpt", saves().folder("lightning-last").files.at("last.ckpt"));
    for (const auto format : {F::lightning, F::automatic}) {
        CHECK(taken(dir.path(), spec_of(format)) == "epoch=1-step=7.ckpt"); // of equal ones the one with its step in the name
        fs::remove(dir / "epoch=1-step=7.ckpt");
        CHECK(taken(dir.path(), spec_of(format)) == "last.ckpt");
        fs::resize_file(dir / "last.ckpt", 400);
        CHECK(taken(dir.path(), spec_of(format)) == "epoch=1-step=3.ckpt");
        CHECK(list_checkpoints(dir.path(), spec_of(format))->front().step == unknown_step);
        put(dir / "last.ckpt", saves().folder("lightning-last").files.at("last.ckpt"));
        save(dir.path(), all[1], 7);
    }
}

TEST_CASE("retention: of each format as many as wanted stay, and what is not recognized is not touched") {
    for (const auto &one : numbered()) {
        CAPTURE(one.folder);
        const TempDir dir{memory_folder()};
        for (const int step : {1, 2, 3, 4})
            save(dir.path(), one, step);
        fs::create_directories(dir / name_of(one, 0));
        if (one.format == F::lightning)
            put(dir / "last.ckpt", "cut");
        auto spec = spec_of(one.format);
        spec.keep = 2;
        HashLimits limits;
        limits.verified = std::make_shared<VerifiedFiles>();
        const auto removed = remove_old_checkpoints(real_files(), dir.path(), spec, {dir / name_of(one, 1)}, limits);
        REQUIRE(removed);
        CHECK(*removed == std::vector<std::string>{dir / name_of(one, 2)});
        for (const int step : {0, 1, 3, 4})
            CHECK(fs::exists(dir / name_of(one, step)));
        if (one.format == F::lightning)
            CHECK(fs::exists(dir / "last.ckpt"));
    }
}

TEST_CASE("verified files: a checkpoint that was found whole and has settled is not read again until something in it changes") {
    const TempDir dir;
    save(dir.path(), saved_formats()[0], 7);
    const auto spec = spec_of(F::torch);
    int reads = 0;
    HashLimits limits{.max_bytes = 0};
    limits.on_piece = [&] { ++reads; };
    limits.verified = std::make_shared<VerifiedFiles>();
    const auto look = [&] {
        reads = 0;
        const auto choice = newest_complete(dir.path(), spec, limits);
        REQUIRE(choice);
        return choice->newest.has_value();
    };
    CHECK(look());
    CHECK(reads > 0);
    // It settles two seconds after it was written.
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{30};
    while (reads > 0 && std::chrono::steady_clock::now() < deadline)
        REQUIRE(look());
    CHECK(reads == 0);
    limits.max_bytes = 1; // before a training goes on from it, it is read all the same
    CHECK(look());
    CHECK(reads > 0);
    limits.max_bytes = 0;
    fs::resize_file(dir / "step-7.pt", 300);
    CHECK(!look());
}

#include "unit/checkpoint/saved.h"

#include <fmt/format.h>

using namespace trainctl;

namespace {

using F = CheckpointFormat;

// Every byte of a small file; of a larger one its ends, where formats keep their indexes, and some between.
std::vector<std::size_t> cuts(std::size_t size) {
    std::vector<std::size_t> out;
    for (std::size_t at = 0; at < size; ++at)
        if (size <= 256 || at < 64 || size - at <= 160 || at % 23 == 0)
            out.push_back(at);
    return out;
}

// Files without which the rest is whole all the same: nothing names them.
bool dispensable(const std::string &folder, const std::string &file) {
    return (folder.starts_with("huggingface") && file.ends_with("/config.json")) || file.ends_with("/context/model.yaml") ||
           file.find("/expp_rank_1_") != std::string::npos || (folder == "orbax" && file.ends_with("/process_0")) || file.ends_with("/process_2") ||
           file.ends_with("/c/0") || file.ends_with("/config/metadata");
}

// What is not looked into: only an empty one is seen. Text without an index, and what is compressed.
bool opaque(const std::string &file) {
    return file.ends_with(".yaml") || file.find("/d/") != std::string::npos || file.find("/c/") != std::string::npos || file.ends_with("/commit_success.txt");
}

} // namespace

TEST_CASE("formats: a whole save is complete, by its format and by what is there") {
    MESSAGE("the saves were made with " << saves().made_with);
    for (const auto &one : saved_formats()) {
        CAPTURE(one.folder);
        const auto folder = saves().folder(one.folder);
        const auto verdict = folder.judged(one.format, one.name);
        CHECK(verdict.why_not == "");
        CHECK(verdict.complete);
        CHECK(verdict.format == one.format);
        const auto told = folder.judged(F::automatic, one.name);
        CHECK(told.complete == one.by_auto);
        CHECK(told.format == one.format);
        CHECK(told.recognized);
    }
}

TEST_CASE("formats: cut at any byte, empty or missing, whichever file it is: not complete, and said why") {
    for (const auto &one : saved_formats())
        for (const auto format : {one.format, F::automatic}) {
            const auto whole = saves().folder(one.folder);
            for (const auto &[file, content] : whole.files) {
                CAPTURE(one.folder);
                CAPTURE(file);
                auto folder = whole;
                for (const auto size : cuts(content.size())) {
                    CAPTURE(size);
                    if ((size > 0 && opaque(file)) || (file == "latest_checkpointed_iteration.txt" && size > 0))
                        continue;
                    folder.files[file] = content.substr(0, size);
                    const auto verdict = folder.judged(format, one.name);
                    REQUIRE(!verdict.complete);
                    REQUIRE(!verdict.why_not.empty());
                }
                folder.files.erase(file);
                if (!dispensable(one.folder, file) && file != one.name)
                    REQUIRE(!folder.judged(format, one.name).complete);
            }
        }
}

TEST_CASE("formats: a whole save of one format is none of another's, and not to be removed as one") {
    for (const auto &one : saved_formats()) {
        const auto folder = saves().folder(one.folder);
        for (const auto format : {F::torch, F::dcp, F::safetensors, F::huggingface, F::lightning, F::deepspeed, F::megatron, F::nemo, F::orbax}) {
            const auto verdict = folder.judged(format, one.name);
            CAPTURE(one.folder);
            CAPTURE(format_name(format));
            CHECK((verdict.recognized || !verdict.complete));
            if (one.format == F::orbax && format != F::orbax)
                CHECK(!verdict.recognized);
            if (format == F::orbax && one.format != F::orbax)
                CHECK(!verdict.recognized);
        }
    }
}

TEST_CASE("formats: what is of no known format is not recognized, and a plain marker makes it complete") {
    SavedFolder folder;
    folder.files = {{"7/weights.npy", "numbers"}, {"step-8/x.bin", "numbers"}};
    for (const std::string name : {"7", "step-8"}) {
        const auto verdict = folder.judged(F::automatic, name);
        CHECK(!verdict.complete);
        CHECK(!verdict.recognized);
        CHECK(verdict.why_not.find("checkpoint.marker") != std::string::npos);
        folder.files[name + "/COMPLETE"] = "";
        CHECK(folder.judged(F::automatic, name).complete);
    }
}

TEST_CASE("formats: a marker that is asked for must be there beside a whole save") {
    auto folder = saves().folder("dcp");
    Checkpoint spec;
    spec.format = F::dcp;
    spec.marker = "DONE";
    auto facts = folder.facts("step-7");
    CHECK(judge(spec, facts).why_not == "its marker DONE is missing");
    folder.files["step-7/DONE"] = "";
    facts = folder.facts("step-7");
    CHECK(judge(spec, facts).complete);
    folder.files["step-7/__0_0.distcp"].pop_back();
    facts = folder.facts("step-7");
    CHECK(!judge(spec, facts).complete);
}

TEST_CASE("torch: the old format has no end that can be told") {
    const auto verdict = saves().folder("old").judged(F::torch, "step-7.pt");
    CHECK(!verdict.complete);
    CHECK(verdict.why_not.find("old format") != std::string::npos);
    CHECK(!saves().folder("old").judged(F::automatic, "step-7.pt").complete);
}

TEST_CASE("lightning: the step of last.ckpt is the one in it") {
    const auto folder = saves().folder("lightning-last");
    CHECK(step_inside(folder.facts("last.ckpt")) == 7);
    auto cut = folder;
    cut.files["last.ckpt"].pop_back();
    CHECK(!step_inside(cut.facts("last.ckpt")));
    for (const auto *name : {"last.ckpt", "last-v1.ckpt", "last-v12.ckpt"})
        CHECK(is_last_name(name));
    for (const auto *name : {"last", "last-v.ckpt", "last-1.ckpt", "lastly.ckpt", "x-last.ckpt", ".ckpt"})
        CHECK(!is_last_name(name));
}

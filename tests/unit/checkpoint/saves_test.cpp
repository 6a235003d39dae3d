// What formats have of their own: their order of writing, and what a save leaves that was killed in the middle.
#include "unit/checkpoint/saved.h"

#include <chrono>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

using F = CheckpointFormat;

// The save of step 7 beside the same one as another step.
SavedFolder with_next(const std::string &folder, const std::string &name, const std::string &next) {
    auto out = saves().folder(folder);
    for (const auto &[path, content] : saves().folder(folder).files)
        if (path.starts_with(name + "/"))
            out.files[next + path.substr(name.size())] = content;
    return out;
}

} // namespace

TEST_CASE("deepspeed and megatron: what the tracker does not speak of yet is still being saved, the one before is whole") {
    struct Row {
        const char *folder, *name, *next, *tracker, *after;
        F format;
    };
    for (const auto &row : {Row{"deepspeed-2", "global_step7", "global_step10", "latest", "global_step10", F::deepspeed},
                            Row{"megatron", "iter_0000007", "iter_0000010", "latest_checkpointed_iteration.txt", "10", F::megatron},
                            Row{"megatron-dist", "iter_0000007", "iter_0000010", "latest_checkpointed_iteration.txt", "10\n", F::megatron}}) {
        CAPTURE(row.folder);
        auto both = with_next(row.folder, row.name, row.next);
        CHECK(!both.judged(row.format, row.next).complete);
        CHECK(both.judged(row.format, row.name).complete);
        both.files[row.tracker] = row.after;
        CHECK(both.judged(row.format, row.next).complete);
        CHECK(both.judged(row.format, row.name).complete);
        // Cut while it was written over: only the newest is in doubt.
        for (const auto *torn : {"", "global_s", "x"}) {
            both.files[row.tracker] = torn;
            CHECK(!both.judged(row.format, row.next).complete);
            CHECK(both.judged(row.format, row.name).complete);
        }
        both.files.erase(row.tracker);
        CHECK(!both.judged(row.format, row.next).complete);
        CHECK(both.judged(row.format, row.name).complete);
    }
}

TEST_CASE("deepspeed: a tag that was cut to another's name makes nothing newer complete") {
    auto both = with_next("deepspeed-2", "global_step7", "global_step70");
    both.files["latest"] = "global_step7"; // of global_step70
    CHECK(!both.judged(F::deepspeed, "global_step70").complete);
    CHECK(both.judged(F::deepspeed, "global_step7").complete);
}

TEST_CASE("dcp: a save into a folder that holds an older one, at each of its moments") {
    auto folder = saves().folder("dcp");
    Checkpoint spec;
    spec.format = F::dcp;
    auto facts = folder.facts("step-7");
    const WallTime then{1000s};
    facts.written = {{".metadata", then}, {"__0_0.distcp", then - 1s}, {"__1_0.distcp", then + 3s}};
    CHECK(judge(spec, facts).complete); // nodes' clocks differ by so much
    facts.written["__1_0.distcp"] = then + 10min;
    CHECK(judge(spec, facts).why_not.find("__1_0.distcp is younger") == 0);
    folder.files["step-7/.metadata.tmp"] = folder.files["step-7/.metadata"];
    CHECK(!folder.judged(F::dcp, "step-7").complete);
    folder.files.erase("step-7/.metadata");
    CHECK(!folder.judged(F::dcp, "step-7").complete);
}

TEST_CASE("dcp: what a .metadata names must lie there, whatever else it is") {
    auto folder = saves().folder("dcp");
    const auto whole = folder.files["step-7/.metadata"];
    for (const auto &text : {std::string{"."}, std::string{"\x80\x04N."}, std::string{"\x80\x04}."}, whole + "x", whole + whole, std::string(4000, '(')}) {
        folder.files["step-7/.metadata"] = text;
        CHECK(!folder.judged(F::dcp, "step-7").complete);
    }
}

TEST_CASE("nemo: its mark beside a save tells that it has not ended") {
    for (const auto &[folder_name, name] : {std::pair{"nemo", "gpt--val_loss=1.00-step=7-consumed_samples=70.0-last"}, std::pair{"nemo-file", "gpt-step=7.nemo"}}) {
        auto folder = saves().folder(folder_name);
        folder.files[std::string{name} + "-unfinished"] = "";
        CHECK(!folder.judged(F::nemo, name).complete);
        folder.files.erase(std::string{name} + "-unfinished");
        CHECK(folder.judged(F::nemo, name).complete);
    }
}

TEST_CASE("nemo: the copy of averaged weights has the mark of the save that it belongs to") {
    auto folder = saves().folder("nemo-file");
    folder.files["gpt-step=7-EMA.nemo"] = folder.files.at("gpt-step=7.nemo");
    CHECK(folder.judged(F::nemo, "gpt-step=7-EMA.nemo").complete);
    folder.files["gpt-step=7-unfinished"] = "";
    CHECK(!folder.judged(F::nemo, "gpt-step=7-EMA.nemo").complete);
    CHECK(!folder.judged(F::nemo, "gpt-step=7.nemo").complete);
}

TEST_CASE("lightning: a sharded save over an older one has an old meta.pt until it ends") {
    const auto folder = saves().folder("lightning-fsdp");
    Checkpoint spec;
    spec.format = F::lightning;
    auto facts = folder.facts("epoch=1-step=7.ckpt");
    const WallTime then{1000s};
    for (const auto &[file, size] : facts.files)
        facts.written[file] = then;
    CHECK(judge(spec, facts).complete);
    for (auto &[file, when] : facts.written)
        when = file == "meta.pt" ? then : then + 10min;
    CHECK(judge(spec, facts).why_not.find("meta.pt, which is written last") == 0);
    facts.written["meta.pt"] = then + 10min;
    CHECK(judge(spec, facts).complete);
}

TEST_CASE("orbax: no commit time, or a temporary item in it: not ended") {
    auto folder = saves().folder("orbax");
    auto &about = folder.files["7/_CHECKPOINT_METADATA"];
    const auto whole = about;
    about.replace(about.find("\"commit_timestamp_nsecs\": 2"), 27, "\"commit_timestamp_nsecs\": null");
    CHECK(folder.judged(F::orbax, "7").why_not.find("commit time") != std::string::npos);
    // As it is written when a save begins; without any time, as by 0.5; and with the mark of a store that can't rename.
    about = R"({"item_handlers": null, "init_timestamp_nsecs": 1})";
    CHECK(folder.judged(F::orbax, "7").why_not.find("commit time") != std::string::npos);
    about = whole;
    for (const auto *time : {"\"init_timestamp_nsecs\": 1", "\"commit_timestamp_nsecs\": 2"})
        about.replace(about.find(time), std::string_view{time}.size(), "\"a\": 1");
    CHECK(folder.judged(F::orbax, "7").complete);
    auto committed = saves().folder("orbax-committed");
    auto &times = committed.files["7/_CHECKPOINT_METADATA"];
    times.replace(times.find("\"commit_timestamp_nsecs\": 2"), 27, "\"commit_timestamp_nsecs\": null");
    CHECK(committed.judged(F::orbax, "7").complete);
    committed.files.erase("7/commit_success.txt");
    CHECK(committed.judged(F::orbax, "7").why_not.find("commit time") != std::string::npos);
    about = whole;
    folder.files["7/state.orbax-checkpoint-tmp-3/d/0"] = "x";
    CHECK(!folder.judged(F::orbax, "7").complete);
}

TEST_CASE("safetensors: weights alone are taken where the user says that they are all") {
    const auto folder = saves().folder("safetensors");
    CHECK(folder.judged(F::safetensors, "step-7").complete);
    CHECK(folder.judged(F::automatic, "step-7").why_not.find("safetensors alone") == 0);
    auto hole = saves().folder("safetensors-file");
    hole.files["step-7.safetensors"] += "x";
    CHECK(!hole.judged(F::safetensors, "step-7.safetensors").complete);
}

TEST_CASE("huggingface: each rank's random state has its place, as many as training_args.bin says") {
    const auto whole = saves().folder("huggingface-fsdp");
    REQUIRE(whole.files.contains("checkpoint-7/rng_state_2.pth"));
    for (const std::string rank : {"0", "1", "2"}) {
        auto folder = whole;
        folder.files.erase("checkpoint-7/rng_state_" + rank + ".pth");
        CHECK(folder.judged(F::huggingface, "checkpoint-7").why_not == "rng_state_" + rank + ".pth is missing" + (rank == "2" ? " (of 3)" : ""));
    }
    // Where it does not say how many, a gap is all that is seen.
    auto old = saves().folder("huggingface");
    old.files["checkpoint-7/training_args.bin"] = old.files["checkpoint-7/scheduler.pt"];
    const auto state = old.files["checkpoint-7/rng_state.pth"];
    old.files.erase("checkpoint-7/rng_state.pth");
    CHECK(old.judged(F::huggingface, "checkpoint-7").why_not.find("rng_state.pth is missing") == 0);
    for (const std::string rank : {"0", "1", "2"})
        old.files["checkpoint-7/rng_state_" + rank + ".pth"] = state;
    CHECK(old.judged(F::huggingface, "checkpoint-7").complete);
    old.files.erase("checkpoint-7/rng_state_1.pth");
    CHECK(old.judged(F::huggingface, "checkpoint-7").why_not == "rng_state_1.pth is missing");
}

TEST_CASE("huggingface: a save over an older one, killed at each of its moments, in the order in which it writes") {
    const auto folder = saves().folder("huggingface-fsdp");
    Checkpoint spec;
    spec.format = F::huggingface;
    auto facts = folder.facts("checkpoint-7");
    const WallTime then{1000s};
    for (const auto &[file, size] : facts.files)
        facts.written[file] = then;
    CHECK(judge(spec, facts).complete);
    std::vector<std::string> before, random;
    for (const auto &[file, size] : facts.files)
        if (file != "trainer_state.json" && file != "config.json")
            (file.starts_with("rng_state") ? random : before).push_back(file);
    facts.written["eval_results.json"] = then + 10min; // others' files may come later
    for (const auto &file : before) {
        facts.written[file] = then + 10min;
        CAPTURE(file);
        CHECK(judge(spec, facts).why_not.find("is younger than trainer_state.json") != std::string::npos);
    }
    facts.written["trainer_state.json"] = then + 10min;
    CHECK(judge(spec, facts).complete);
    for (const auto &file : random)
        facts.written[file] = then + 20min; // ranks that were late, in versions that write these last
    CHECK(judge(spec, facts).complete);
}

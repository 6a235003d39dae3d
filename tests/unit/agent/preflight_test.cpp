#include "agent/preflight.h"
#include "agent/preflight_chips.h"
#include "base/text.h"
#include "failure/book.h"
#include "support/temp_dir.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

using namespace trainctl;

namespace {

std::string rows(const std::vector<PreflightLine> &lines, Finding finding) {
    std::string out;
    for (const auto &line : lines)
        if (line.finding == finding)
            out += line.text + "\n";
    return out;
}

bool has(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

// As `nvidia-smi --query-gpu=index,pci.bus_id,uuid,name,mig.mode.current,ecc...,retired_pages.pending` prints it.
std::string nvidia_row(int index, const std::string &errors = "0", const std::string &mig = "Disabled") {
    const std::string digit = std::to_string(index);
    return digit + ", 00000000:" + digit + "B:00.0, GPU-" + digit + "0000000-aaaa-bbbb-cccc-dddddddddddd, NVIDIA H100 80GB HBM3, " + mig + ", " +
           errors + ", [N/A]\n";
}

} // namespace

TEST_CASE("preflight lines: what is said is what is heard") {
    for (const auto finding : {Finding::doing, Finding::fine, Finding::warning, Finding::bad, Finding::shared, Finding::end}) {
        const auto heard = parse_preflight_line(to_string(PreflightLine{finding, "a b\nc"}));
        REQUIRE(heard);
        CHECK(heard->finding == finding);
        CHECK(heard->text == "a b c");
    }
    const auto known = parse_preflight_line(to_string(PreflightLine{Finding::bad, "chip 0: a: b", "gpu-ecc"}));
    REQUIRE(known);
    CHECK(known->text == "chip 0: a: b");
    CHECK(known->fact == "gpu-ecc");
    for (const char *text : {"", "bad", "badly said", "bad: chip", "trainctl: cannot start"}) // the colon wants a fact
        CHECK_FALSE(parse_preflight_line(text));
}

TEST_CASE("preflight order: survives its text, without the environment") {
    PreflightSpec spec;
    spec.run_dir = "/scratch/ä b";
    spec.checkpoint_dir = "/ck";
    spec.min_free_mib = 5;
    spec.job_memory_mib = 6;
    spec.chips_per_node = 8;
    spec.chip = "h100";
    spec.head_clock_ms = 1'700'000'000'123;
    spec.chips_since_s = 12.5;
    spec.environment = {{"TOKEN", "secret"}};
    const std::string text = preflight_spec_text(spec);
    CHECK_FALSE(has(text, "secret"));
    const auto read = preflight_spec_from(text);
    REQUIRE(read);
    CHECK(read->run_dir == spec.run_dir);
    CHECK(read->checkpoint_dir == "/ck");
    CHECK(read->min_free_mib == 5);
    CHECK(read->job_memory_mib == 6);
    CHECK(read->chips_per_node == 8);
    CHECK(read->chip == "h100");
    CHECK(read->head_clock_ms == spec.head_clock_ms);
    CHECK(read->chips_since_s == 12.5);
    CHECK_FALSE(preflight_spec_from("{}"));
    CHECK_FALSE(preflight_spec_from("nothing"));
}

TEST_CASE("disks: too little space and too few inodes are told, and are no fault of the node") {
    struct Case {
        std::uint64_t free_mib, inodes_free, inodes, min_free_mib;
        bool bad;
    };
    for (const auto &[free_mib, inodes_free, inodes, min_free_mib, bad] :
         {Case{2048, 5000, 10000, 1024, false}, Case{1023, 5000, 10000, 1024, true}, Case{2048, 10, 10000, 1024, true},
          Case{2048, 0, 0, 1024, false} /* btrfs counts no inodes */, Case{0, 5000, 10000, 0, false}}) {
        CAPTURE(free_mib);
        CAPTURE(inodes_free);
        const auto lines = judge_disk({"the run's folder", "/scratch", free_mib << 20, inodes_free, inodes}, min_free_mib);
        CHECK(!rows(lines, Finding::shared).empty() == bad); // no fault of the node that sees it
        CHECK(rows(lines, Finding::bad).empty());
    }
    const auto full = rows(judge_disk({"the run's folder", "/scratch", 500'000'000, 9000, 9000}, 1024), Finding::shared);
    CHECK(has(full, "500 MB free at /scratch, 1.1 GB expected"));
}

TEST_CASE("memory: much less than the job's is bad, a little less is told") {
    struct Case {
        MemorySeen seen;
        std::uint64_t job_mib;
        Finding worst;
    };
    for (const auto &[seen, job_mib, worst] :
         {Case{{60'000, 64'000, {}}, 50'000, Finding::fine}, Case{{60'000, 64'000, {}}, 63'000, Finding::warning},
          Case{{30'000, 64'000, {}}, 60'000, Finding::bad}, Case{{60'000, 64'000, {}}, 0, Finding::fine},
          Case{{60'000, 64'000, {}}, 900'000, Finding::warning} /* the node claims more than there is */,
          Case{{60'000, 64'000, 8'000}, 50'000, Finding::bad}, Case{{60'000, 64'000, 50'000}, 50'000, Finding::fine}}) {
        CAPTURE(job_mib);
        const auto lines = judge_memory(seen, job_mib);
        CHECK(!rows(lines, Finding::bad).empty() == (worst == Finding::bad));
        CHECK(!rows(lines, Finding::warning).empty() == (worst == Finding::warning));
    }
}

TEST_CASE("memory: the least limit of all cgroups above counts, in both versions") {
    const TempDir dir;
    const auto put = [&](const std::string &path, const std::string &text) {
        std::filesystem::create_directories(std::filesystem::path{dir / path}.parent_path());
        std::ofstream{dir / path} << text;
    };
    put("slurm/job_7/memory.max", "8589934592\n");
    put("slurm/job_7/step_0/memory.max", "max\n");
    put("memory/slurm/job_8/memory.limit_in_bytes", "4294967296\n");
    put("memory/memory.limit_in_bytes", "9223372036854771712\n"); // none
    CHECK(cgroup_limit_mib("0::/slurm/job_7/step_0\n", dir.path()) == 8192);
    CHECK(cgroup_limit_mib("0::/\n", dir.path()) == std::nullopt);
    CHECK(cgroup_limit_mib("3:cpu:/x\n5:memory:/slurm/job_8/step_0\n", dir.path()) == 4096);
    CHECK(cgroup_limit_mib("5:memory:/elsewhere\n0::/slurm/job_7\n", dir.path()) == 8192);
    CHECK(cgroup_limit_mib("garbage", dir.path()) == std::nullopt);
}

TEST_CASE("clock: told, never bad") {
    CHECK(rows(judge_clock(1'000'000, 1'004'000), Finding::fine) == "clock: 4 s ahead of the head's clock\n");
    CHECK(has(rows(judge_clock(1'000'000, 988'000), Finding::warning), "12 s behind"));
    CHECK(has(rows(judge_clock(1'000'000, 1'400'000), Finding::warning), "THE CLOCK IS WRONG"));
    CHECK(judge_clock(0, 1'000'000).empty());
}

TEST_CASE("nvidia-smi: a healthy node is fine, without ECC too") {
    for (const char *errors : {"0", "[N/A]", "[Not Supported]"}) {
        const auto seen = parse_nvidia(nvidia_row(0, errors) + nvidia_row(1, errors));
        REQUIRE(seen.chips.size() == 2);
        CHECK(seen.chips[1].pci == "0000:1b:00");
        CHECK(seen.chips[1].name == "NVIDIA H100 80GB HBM3");
        const auto lines = judge_chips("nvidia-smi", seen, 2);
        CHECK(rows(lines, Finding::bad).empty());
        CHECK(rows(lines, Finding::warning).empty());
    }
}

TEST_CASE("nvidia-smi: what makes a chip bad is told by its place") {
    CHECK(has(rows(judge_chips("nvidia-smi", parse_nvidia(nvidia_row(0)), 2), Finding::bad), "1 chips, 2 expected"));
    CHECK(has(rows(judge_chips("nvidia-smi", parse_nvidia("No devices were found\n"), 2), Finding::bad), "0 chips, 2 expected"));
    CHECK(has(rows(judge_chips("nvidia-smi", parse_nvidia(nvidia_row(0) + nvidia_row(1, "3")), 2), Finding::bad),
              "chip 1 (NVIDIA H100 80GB HBM3, 0000:1b:00): 3 uncorrectable"));
    const auto lost = parse_nvidia(nvidia_row(0) + "Unable to determine the device handle for GPU0000:1B:00.0: GPU is lost.  Reboot the system\n");
    CHECK(has(rows(judge_chips("nvidia-smi", lost, 1), Finding::bad), "does not answer"));
    CHECK(has(rows(judge_chips("nvidia-smi", parse_nvidia("0, 00000000:0B:00.0, GPU-0, NVIDIA V100, [N/A], 0, Yes\n"), 1), Finding::bad),
              "waits for a reset"));

    for (const auto &[text, bad] : {std::pair{"00000000:1B:00.0, 1, 0\n", true}, std::pair{"00000000:1B:00.0, Yes, No\n", true},
                                    std::pair{"00000000:1B:00.0, 0, 1\n", true}, std::pair{"00000000:1B:00.0, 0, 0\n", false},
                                    std::pair{"00000000:1B:00.0, [N/A], [N/A]\n", false}, std::pair{"00000000:7B:00.0, 1, 1\n", false},
                                    std::pair{"No remapped rows found.\n", false}}) {
        CAPTURE(text);
        auto seen = parse_nvidia(nvidia_row(0) + nvidia_row(1));
        add_remapped_rows(text, seen.chips);
        CHECK(!rows(judge_chips("nvidia-smi", seen, 2), Finding::bad).empty() == bad);
    }
}

TEST_CASE("nvidia-smi: an answer that can't be read takes no node away") {
    for (const char *text : {"", "\n\n", "<html>", "a,b,c,d\n", ",,,,,,\n"}) {
        CAPTURE(text);
        const auto lines = judge_chips("nvidia-smi", parse_nvidia(text), 8);
        CHECK(rows(lines, Finding::bad).empty());
        CHECK(has(rows(lines, Finding::warning), "can't be read"));
    }
    // A banner before good rows does not matter; MIG parts are not counted.
    CHECK(rows(judge_chips("nvidia-smi", parse_nvidia("site banner\n" + nvidia_row(0)), 1), Finding::bad).empty());
    CHECK(rows(judge_chips("nvidia-smi", parse_nvidia(nvidia_row(0, "0", "Enabled")), 4), Finding::bad).empty());
}

TEST_CASE("nvidia-smi: exit codes that blame the question don't blame the node") {
    for (const int code : {0, 2, 3, 4, 13, 14, 127})
        CHECK_FALSE(nvidia_says_broken(code));
    for (const int code : {6, 8, 9, 10, 12, 15, 255, 139})
        CHECK(nvidia_says_broken(code));
}

TEST_CASE("chips of a job: where more is shown than it has, the visible ones") {
    const auto all = parse_nvidia(nvidia_row(0) + nvidia_row(1) + nvidia_row(2) + nvidia_row(3)).chips;
    const auto indexes = [](const std::vector<ChipSeen> &chips) {
        std::string out;
        for (const auto &chip : chips)
            out += std::to_string(chip.index);
        return out;
    };
    CHECK(indexes(chips_of_job(all, 2, "2,3")) == "23");
    CHECK(indexes(chips_of_job(all, 1, "GPU-30000000")) == "3");
    CHECK(indexes(chips_of_job(all, 4, "0,1")) == "0123"); // confined: indexes would be within the confinement
    CHECK(indexes(chips_of_job(all, 2, "")) == "0123");
    CHECK(indexes(chips_of_job(all, 2, "7")) == "0123");
}

TEST_CASE("rocm-smi: cards are counted, its errors are a warning") {
    const std::string csv = "device,Device Name,Device ID\ncard0,AMD Instinct MI300X,0x74a1\ncard1,AMD Instinct MI300X,0x74a1\n\n";
    CHECK(rows(judge_chips("rocm-smi", parse_rocm(csv), 2), Finding::bad).empty());
    CHECK(has(rows(judge_chips("rocm-smi", parse_rocm(csv), 8), Finding::bad), "2 chips, 8 expected"));
    const auto lines = judge_rocm_errors("GPU[0]: RAS INFO\n  Block   Status   uncorrectable err   correctable err\n"
                                         "  UMC     ENABLED    0    0\n  SDMA    ENABLED    0    2\n  GFX     DISABLED\n");
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].finding == Finding::warning);
    CHECK(has(lines[0].text, "SDMA ENABLED 0 2"));
}

TEST_CASE("Xids: fatal, recent ones of the job's chips are bad") {
    const auto chips = parse_nvidia(nvidia_row(0) + nvidia_row(1)).chips;
    const auto worst = [&](const std::string &log, double uptime) {
        const auto lines = judge_xids(parse_xids(log), chips, uptime);
        return !rows(lines, Finding::bad).empty() ? 2 : !lines.empty() ? 1 : 0;
    };
    const std::string bus = "[ 1000.500000] NVRM: Xid (PCI:0000:1b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.\n";
    CHECK(worst(bus, 1500) == 2);
    CHECK(worst(bus, 9000) == 1);                                                               // long ago
    CHECK(worst("[ 1000.5] NVRM: Xid (0000:1b:00): 48, DBE\n", 1500) == 2);                     // as older drivers write it
    CHECK(worst("[ 1000.5] NVRM: Xid (PCI:0000:9b:00): 79, x\n", 1500) == 1);                   // another job's chip
    CHECK(worst("[ 1000.5] NVRM: Xid (PCI:0000:1b:00): 13, Graphics Exception\n", 1500) == 0);  // the program's own fault
    CHECK(worst("[Mon Nov 23 10:00:00 2026] NVRM: Xid (PCI:0000:1b:00): 79, x\n", 1500) == 1);  // no age to be had
    CHECK(worst("[ 1000.5] NVRM: Xid (PCI:0000:1b:00): , x\nNVRM: Xid (\nNVRM: Xid (): 79", 1500) == 1);
    CHECK(worst(bus + "[ 1200.0] NVRM: Xid (PCI:0000:1b:00): 154, GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)\n", 1500) == 0);
    CHECK(worst(bus + "[ 1200.0] NVRM: Xid (PCI:0000:0b:00): 154, GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)\n", 1500) == 2);
    CHECK(judge_xids(parse_xids(bus + bus + bus), chips, 1500).size() == 1);
    CHECK(has(rows(judge_xids(parse_xids(bus), chips, 1600), Finding::bad), "Xid 79 10 min ago"));
    CHECK(rows(judge_xids(parse_xids(bus), chips, 1600, 500), Finding::bad).empty()); // since a look after it
}

TEST_CASE("chips: what is bad is told by a fact that the failure rules know, too") {
    const auto facts = [](const std::vector<PreflightLine> &lines) {
        std::string out;
        for (const auto &line : lines)
            if (line.finding == Finding::bad)
                out += line.fact + " ";
            else
                CHECK(line.fact.empty());
        return out;
    };
    const auto chips_say = [&](const std::string &csv, int expected) { return facts(judge_chips("nvidia-smi", parse_nvidia(csv), expected)); };
    CHECK(chips_say(nvidia_row(0) + nvidia_row(1), 2).empty());
    CHECK(chips_say(nvidia_row(0), 2) == "gpu-lost ");
    CHECK(chips_say(nvidia_row(0, "3"), 1) == "gpu-ecc ");
    CHECK(chips_say("0, 00000000:0B:00.0, GPU-0, NVIDIA V100, [N/A], 0, Yes\n", 1) == "gpu-ecc ");
    CHECK(chips_say(nvidia_row(0) + "GPU is lost.  Reboot the system\n", 1) == "gpu-lost ");
    for (const auto &[code, fact] : {std::pair{48, "gpu-ecc "}, std::pair{79, "gpu-lost "}, std::pair{119, "gpu-xid "}}) {
        const auto xids = parse_xids("[ 1000.5] NVRM: Xid (PCI:0000:0b:00): " + std::to_string(code) + ", x\n");
        CHECK(facts(judge_xids(xids, {}, 1500)) == fact);
        CHECK(facts(judge_xids(xids, {}, 9000)).empty()); // only told
        CHECK(builtin_failures().find_fact("saw " + std::string{trim(fact)}) != nullptr);
    }
}

#include "logs.h"

#include "base/text.h"
#include "failure/line_facts.h"
#include "failure/read_log.h"
#include "support/temp_dir.h"

#include <algorithm>
#include <doctest/doctest.h>
#include <fstream>
#include <random>

using namespace trainctl;

namespace {

constexpr const char *full_disk = "OSError: [Errno 28] No space left on device\n";

std::vector<std::string> rules_of(const LogFindings &findings) {
    std::vector<std::string> out;
    for (const auto &event : findings.events)
        out.push_back(event.rule + ":" + std::to_string(event.line));
    return out;
}

std::string noise(std::mt19937 &random, int lines) {
    const std::vector<std::string> kinds{"step=12 loss: 2.31", "[rank1]: Traceback (most recent call last):", "OSError: [Errno 28] No space left on device",
                                         " 40%|####      | 40/100 [00:10<00:15,  3.9it/s]\r 41%|####      | 41/100 [00:10<00:15,  3.9it/s]",
                                         "\x1b[31mE\x1b[0mOFError: Ran out of input", "nothing to see", "", "srun: error: n3: task 5: Killed",
                                         "2024-05-01 10:00:00 waiting", "free(): inv\x1b[1malid pointer", std::string(3000, 'x') + " No space left on device"};
    std::string out;
    for (int i = 0; i < lines; ++i)
        out += kinds[random() % kinds.size()] + "\n";
    return out;
}

} // namespace

TEST_CASE("scan: what our own programs say in a job's output is no cause") {
    const std::string refused = "standby_failed: sbatch: error: Batch job submission failed: Unspecified error\n";
    CHECK(rules_of(scanned(builtin_matcher(), "trainctl-agent: " + refused)).empty());
    CHECK(rules_of(scanned(builtin_matcher(), refused)).size() == 1);
}

TEST_CASE("scan: what is found does not depend on where blocks end, nor on how many threads read them") {
    std::mt19937 random(11);
    const auto text = noise(random, 400);
    auto &matcher = builtin_matcher();
    const auto whole = scanned(matcher, text);
    CHECK(whole.lines == 400);
    const auto same = [&](const LogFindings &other) {
        CHECK(rules_of(other) == rules_of(whole));
        CHECK(other.lines == whole.lines);
        CHECK(other.matched_lines == whole.matched_lines);
        CHECK(other.progress == whole.progress);
        CHECK(other.last_progress_line == whole.last_progress_line);
        CHECK(other.late_times == whole.late_times);
        CHECK(other.bytes == whole.bytes);
    };
    for (const std::size_t block : {std::size_t{1}, std::size_t{7}, std::size_t{4096}, std::size_t{100'000}})
        same(scanned(matcher, text, block));
    // Large enough to be shared, in one block and in several.
    std::string large;
    for (int i = 0; i < 16; ++i)
        large += noise(random, 1000);
    const auto alone = scanned(matcher, large, large.size());
    RuleMatcher second(builtin_failures()), third(builtin_failures());
    LogScan scan(matcher, "log");
    scan.add_helper(second);
    scan.add_helper(third);
    scan.feed(large);
    const auto shared = scan.finish();
    CHECK(large.size() > 2 << 20);
    CHECK(rules_of(shared) == rules_of(alone));
    CHECK(shared.matched_lines == alone.matched_lines);
    CHECK(shared.progress == alone.progress);
    CHECK(shared.lines == alone.lines);
}

TEST_CASE("scan: a set without memory misses nothing, and says that it was slow") {
    std::mt19937 random(3);
    const auto text = noise(random, 200);
    const auto wanted = rules_of(scanned(builtin_matcher(), text));
    const auto hard = std::string(full_disk) + "x ImportError: a ValueError: b KeyError: c Killed process 7 (d) Stale file handle CUDA out of memory. Tried to allocate "
                      "No CUDA GPUs are available Segmentation fault: address Address already in use double free or corruption undefined symbol: x "
                      "size mismatch for y device-side assert triggered Connection reset by peer Bus error (core dumped) Disk quota exceeded Too many "
                      "open files Input/output error KeyboardInterrupt Graph compile failed No route to host\n";
    const auto hard_wanted = rules_of(scanned(builtin_matcher(), hard));
    bool slow = false;
    for (const std::int64_t memory : {std::int64_t{1}, std::int64_t{1} << 16, std::int64_t{1} << 18, std::int64_t{1} << 20, std::int64_t{3} << 20, std::int64_t{6} << 20}) {
        CAPTURE(memory);
        RuleMatcher starved(builtin_failures(), memory);
        CHECK(rules_of(scanned(starved, text)) == wanted);
        const auto found = scanned(starved, hard);
        CHECK(rules_of(found) == hard_wanted);
        slow = slow || found.slow_lines > 0;
        std::vector<int> by_set, alone;
        starved.match_all(hard, by_set);
        builtin_matcher().match_all(hard, alone);
        CHECK(by_set == alone);
    }
    CHECK(slow);
}

TEST_CASE("scan: bars, colours and long lines hide nothing, and line numbers are those of an editor") {
    struct Case { std::string text; std::int64_t line; };
    for (const auto &[text, line] : {Case{std::string("a\nb\n") + full_disk, 3}, Case{std::string(" 1/2 [00:01<00:01]\r") + full_disk, 1},
                                     Case{"a\nOSError: [Errno\x1b[0m 28] x\n", 2}, Case{"\x1b]0;title\aENOSPC\n", 1},
                                     Case{"a\r\nb\r\nENOSPC\r\nc\r\n", 3}, Case{"a\nENOSPC", 2},
                                     Case{std::string(max_line_bytes * 5 / 2, 'x') + " ENOSPC\nb\n", 1},
                                     Case{"a\n" + std::string(max_line_bytes - 5, 'x') + "ENOSPC not a word, No space left on device" + std::string(max_line_bytes, 'y') + "\n", 2}}) {
        CAPTURE(text.substr(0, 100));
        for (const std::size_t block : {text.size(), std::size_t{65536}}) {
            const auto found = scanned(builtin_matcher(), text, block);
            REQUIRE(!found.events.empty());
            CHECK(found.events[0].rule == "enospc");
            CHECK(found.events[0].line == line);
            CHECK(found.events[0].text.size() <= max_event_text);
            CHECK(found.events[0].text.find('\x1b') == std::string::npos);
        }
    }
    const auto far = scanned(builtin_matcher(), std::string(100'000, 'x') + " No space left on device " + std::string(9000, 'y') + "\n");
    REQUIRE(far.events.size() == 1);
    CHECK(far.events[0].text.find("No space left on device") != std::string::npos);
}

TEST_CASE("scan: of a rule that matches for ever the beginning and the end are kept") {
    std::string text;
    for (int i = 0; i < 5000; ++i)
        text += full_disk;
    const auto found = scanned(builtin_matcher(), text);
    const auto count = std::count_if(found.events.begin(), found.events.end(), [](const auto &event) { return event.rule == "enospc"; });
    CHECK(count == static_cast<std::ptrdiff_t>(first_events + last_events));
    CHECK(found.events.front().line == 1);
    CHECK(found.events.back().line == 5000);
    CHECK(found.dropped_events == 5000 - static_cast<std::int64_t>(first_events + last_events));
    CHECK(found.matched_lines == 5000);
}

TEST_CASE("scan: a benign line silences all but the proven words that are glued to it") {
    const auto glued = scanned(builtin_matcher(), "/x.py:3: UserWarning: Too many open files\n/x.py:3: UserWarning: a slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2024-01-01T00:00:00 DUE TO TIME LIMIT ***\n");
    REQUIRE(!glued.events.empty());
    for (const auto &event : glued.events)
        CHECK(event.line == 2);
}

TEST_CASE("scan: the time, the rank and the node that a line names are kept") {
    const auto found = scanned(builtin_matcher(), "[rank3]: 2024-05-01T10:00:03 torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n"
                                                  "srun: error: Node failure on n17\n");
    REQUIRE(found.events.size() == 2);
    CHECK(found.events[0].rank == 3);
    CHECK(found.events[0].at == 1714557603);
    CHECK(found.events[1].host == "n17");
    CHECK(time_of_line("2024-02-30 10:00:00") == std::nullopt);
    CHECK(host_of_line("node-17:5276:5696 [1] NCCL WARN x") == "node-17");
}

TEST_CASE("scan: what a launcher puts before a line hides neither its beginning nor its rank") {
    struct Case { std::string line; std::size_t size; std::optional<int> rank; };
    const std::string ours = "2026-11-23T12:37:07Z [r12] ";
    for (const auto &[line, size, rank] : {
             Case{ours + "Killed", ours.size(), 12}, Case{ours, ours.size(), 12}, Case{ours + "[default3]:Killed", ours.size() + 11, 12},
             Case{ours + "[rank7]: ValueError: x", ours.size(), 7}, Case{"[default3]:Killed", 11, {}}, Case{"[1,5]<stderr>:Killed", 14, 5},
             Case{"  3: Killed", 5, {}}, Case{"127: Killed", 5, {}}, Case{"Killed", 0, {}}, Case{"12:37:07 Killed", 0, {}},
             Case{"2026-11-23T12:37:07Z [rx] Killed", 0, {}}, Case{"2026-11-23T12:37:07Z", 0, {}}, Case{"1234567: Killed", 0, {}},
             Case{"[1,5] Killed", 0, {}}, Case{"[default]: Killed", 0, {}}, Case{"", 0, {}}, Case{"3", 0, {}}, Case{"         3: x", 0, {}}}) {
        CAPTURE(line);
        CHECK(launcher_prefix(line) == size);
        CHECK(rank_of_line(line) == rank);
        if (line.find("Killed") == size) {
            const auto found = scanned(builtin_matcher(), line + "\n");
            REQUIRE(found.events.size() == 1);
            CHECK(found.events[0].rule == "shell-killed");
            CHECK(found.events[0].text == trim(line));
        }
    }
    const auto found = scanned(builtin_matcher(), ours + "n4:5276:5696 [1] NCCL WARN Cuda failure 'uncorrectable ECC error encountered'\n");
    REQUIRE(!found.events.empty());
    CHECK(found.events[0].host == "n4");
    CHECK(found.events[0].rank == 12);
    CHECK(found.events[0].at == 1795437427);
}

TEST_CASE("read log: from the byte where a generation began, with the file's own line numbers") {
    TempDir dir;
    const auto path = dir.path() + "/log";
    const std::string before = std::string("ValueError: old\nENOSPC\n");
    std::ofstream(path) << before << "x\nNo space left on device\n";
    FailureLogReader reader(builtin_failures());
    const auto all = reader.read(path);
    REQUIRE(all.ok());
    CHECK(rules_of(*all) == std::vector<std::string>{"enospc:2", "enospc:4"});
    const auto rest = reader.read(path, before.size());
    REQUIRE(rest.ok());
    CHECK(rules_of(*rest) == std::vector<std::string>{"enospc:4"});
    CHECK(rest->lines == 2);
    CHECK(!reader.read(dir.path() + "/none").ok());
    CHECK(!reader.read(dir.path()).ok());
}

TEST_CASE("literals: what RE2 finds is never ruled out") {
    std::mt19937 random(5);
    const std::vector<std::string> patterns{"abcdef", "(?i)Hello World", "error: (?:nan|inf)", "x{3}yz[0-9]", "a.*zzzzzz", "(?:foo|barbaz|quuxes) end", "^begin", "[a-z]+"};
    const LiteralFinder finder(patterns);
    CHECK(finder.unfiltered() == std::vector<int>{7});
    const std::vector<std::string> pieces{"abcdef", "HELLO wORLD", "error: nan", "error: in", "xxxyz4", "a", "zzzzzz", "foo end", "quuxes end", "begin", " ", "\n", "-", "qu"};
    std::vector<LiteralFinder::Mark> marks;
    for (int round = 0; round < 3000; ++round) {
        std::string text;
        for (auto n = random() % 12; n > 0; --n)
            text += pieces[random() % pieces.size()];
        finder.find(text, marks);
        for (std::size_t i = 0; i + 1 < patterns.size(); ++i) {
            const bool marked = std::any_of(marks.begin(), marks.end(), [&](const auto &mark) {
                const auto &users = finder.patterns_of(mark.literal);
                return std::find(users.begin(), users.end(), static_cast<int>(i)) != users.end();
            });
            CAPTURE(text);
            CAPTURE(patterns[i]);
            if (RE2::PartialMatch(text, patterns[i]))
                CHECK(marked);
        }
    }
}

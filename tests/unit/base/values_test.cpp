#include "base/clock.h"
#include "base/hash.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/signals.h"

#include <csignal>
#include <doctest/doctest.h>
#include <set>

using namespace trainctl;
using namespace std::chrono_literals;

TEST_CASE("ids: job ids as sbatch prints them") {
    CHECK(parse_job_id("123") == JobId{123});
    CHECK(parse_job_id("123;big") == JobId{123});
    for (const auto *text : {"", "0", "-1", "12x", " 12", "12 ", ";big", "99999999999999999999999"}) {
        CAPTURE(text);
        CHECK(!parse_job_id(text));
    }
}

TEST_CASE("ids: attempts have three digits at least, and one spelling") {
    CHECK(to_string(AttemptNo{7}) == "007");
    CHECK(to_string(AttemptNo{1234}) == "1234");
    CHECK(AttemptNo{9}.next() == AttemptNo{10});
    for (const int no : {1, 7, 99, 100, 999, 1000, 123456})
        CHECK(parse_attempt_no(to_string(AttemptNo{no})) == AttemptNo{no});
    for (const auto *text : {"", "0", "000", "7", "0007", "-01", "01x", "1.0", "99999999999"}) {
        CAPTURE(text);
        CHECK(!parse_attempt_no(text));
    }
    CHECK(job_name(RunId{"gpt-1"}, AttemptNo{2}) == "tc-gpt-1-002");
}

TEST_CASE("ids: run ids are safe as file, job and option names") {
    CHECK(valid_run_id("gpt-a2b3c"));
    CHECK(valid_run_id(std::string(48, 'a')));
    for (const std::string text : {"", "-a", "A", "a/b", "..", "a.b", "a b", "a\n", "\xc3\xa4"}) {
        CAPTURE(text);
        CHECK(!valid_run_id(text));
    }
    CHECK(!valid_run_id(std::string(49, 'a')));
}

TEST_CASE("clock: instants for people") {
    CHECK(utc_text(from_unix_seconds(0)) == "1970-01-01T00:00:00Z");
    CHECK(utc_text(from_unix_seconds(1'795'379'886)) == "2026-11-22T20:38:06Z");
    CHECK(unix_seconds(from_unix_seconds(1'795'379'886)) == 1'795'379'886);
    struct Row { Duration duration; const char *text; };
    for (const auto &[duration, text] : {
             Row{0s, "0 ms"}, Row{850ms, "850 ms"}, Row{999'999us, "999 ms"}, Row{12s, "12 s"}, Row{190s, "3 m 10 s"},
             Row{3599s, "59 m 59 s"}, Row{4h + 5min, "4 h 05 m"}, Row{51h, "2 d 03 h"}, Row{-12s, "-12 s"},
         }) {
        CAPTURE(text);
        CHECK(human_duration(duration) == text);
    }
}

TEST_CASE("hash: the known values of FIPS 180-4 and of HMAC-SHA-512-256") {
    CHECK(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(sha256_hex(std::string(1'000'000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    Sha256 pieces;
    pieces.add("a");
    pieces.add("");
    pieces.add("bc");
    CHECK(pieces.hex() == sha256_hex("abc"));
    // RFC 4231, case 2, cut to 256 bits as libsodium does.
    CHECK(hmac_hex("Jefe", "what do ya want for nothing?") == "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554");
    CHECK(hmac_hex(std::string(200, 'k'), "m") != hmac_hex(std::string(201, 'k'), "m"));
    CHECK(same_secret("abc", "abc"));
    CHECK(!same_secret("abc", "abd"));
    CHECK(!same_secret("abc", "abcd"));
    CHECK(!same_secret("", "a"));
}

TEST_CASE("hash: random words are of the length asked for, and differ") {
    std::set<std::string> seen;
    for (int i = 0; i < 1000; ++i)
        seen.insert(random_word(8));
    CHECK(seen.size() == 1000);
    for (const auto &word : seen) {
        CHECK(word.size() == 8);
        CHECK(valid_run_id(word));
        CHECK(word.find_first_of("01lo") == std::string::npos);
    }
    CHECK(random_hex(8).size() == 16);
    CHECK(random_hex(8) != random_hex(8));
}

TEST_CASE("json: errors name the source, and odd bytes can be printed") {
    const auto broken = parse_json("{\"a\": ", "/r/run.json");
    REQUIRE(!broken);
    CHECK(broken.error().kind == ErrorKind::invalid);
    CHECK(broken.error().where.find("/r/run.json") == 0);
    CHECK(dump_json(Json{{"a", "x\xff"}}) == "{\"a\":\"x\xef\xbf\xbd\"}");
    CHECK(!parse_json("{} {}", "x"));
    const std::string deep(100'000, '[');
    CHECK(!parse_json(deep, "x")); // no stack overflow
}

TEST_CASE("hash: base64 keeps every byte, and what is none is none") {
    std::string every;
    for (int byte = 0; byte < 256; ++byte)
        every += static_cast<char>(byte);
    CHECK(from_base64(to_base64(every)) == every);
    CHECK(to_base64("+a line\xff\n") == "K2EgbGluZf8K");
    CHECK(from_base64("") == "");
    CHECK(!from_base64("+a line"));
}

TEST_CASE("signals: names with and without SIG, and none of that name") {
    CHECK(signal_number("USR1") == SIGUSR1);
    CHECK(signal_number("SIGTERM") == SIGTERM);
    CHECK(signal_number("NOPE") == 0);
}

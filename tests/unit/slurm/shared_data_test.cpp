// Real outputs of many versions and sites, kept beside the checkout; each test says so where they are not there.
#include "base/files.h"
#include "base/json.h"
#include "base/text.h"
#include "slurm/answers.h"
#include "slurm/hostlist.h"
#include "slurm/parse.h"
#include "slurm/states.h"

#include <doctest/doctest.h>
#include <algorithm>
#include <optional>

using namespace trainctl;

namespace {

const std::string folder = std::string{TRAINCTL_SOURCE_DIR} + "/../shared/data/slurm/";

std::optional<std::string> shared(const std::string &name) {
    auto content = PosixFiles{}.read(folder + name);
    if (content.ok() && content->has_value())
        return **content;
    MESSAGE("skipped, not there: " << folder << name);
    return std::nullopt;
}

void check_state(const std::string &word) {
    CAPTURE(word);
    const JobState state = read_state(word);
    CHECK(state.phase != JobPhase::unknown);
    CHECK_FALSE(state.text.empty());
}

struct Columns { std::string file, separator; std::size_t columns, id, state; };

} // namespace

TEST_CASE("shared data: every state of every squeue and sacct output has a phase") {
    const Columns files[] = {
        {"24.11.7-squeue_states_all.txt", "|", 5, 99, 1},
        {"25.11.2-squeue_states_all.txt", "|", 5, 99, 1},
        {"26.05.2-squeue_states_all.txt", "|", 5, 99, 1},
        {"24.11.7-squeue_O.txt", "|", 8, 0, 4},
        {"26.05.2-squeue_O.txt", "|", 8, 0, 4},
        {"old-squeue_state.txt", ",", 2, 0, 1},
        {"squeue_aiida.txt", "^^^", 14, 0, 1},
        {"16.05-17.02-sacct_P_allocations.txt", "|", 26, 0, 16},
        {"23-24-sacct_P_allsteps.txt", "|", 32, 0, 4},
        {"21-23-sacct_snowman_delim.txt", "\u2603", 38, 0, 8},
    };
    for (const auto &file : files) {
        CAPTURE(file.file);
        const auto text = shared(file.file);
        if (!text)
            continue;
        const Rows rows = parse_rows(*text, file.separator, file.columns);
        CHECK(rows.malformed.empty());
        CHECK(rows.rows.size() >= 5);
        for (const auto &row : rows.rows) {
            check_state(row[file.state]);
            if (file.id < row.size()) {
                CAPTURE(row[file.id]);
                CHECK(parse_leading_id(row[file.id]).has_value());
            }
        }
    }
}

TEST_CASE("shared data: outputs with a line of column names") {
    struct File { std::string name; char separator; };
    for (const auto &[name, separator] : {File{"18.08-squeue_unit_sep.txt", '\x1f'},
                                          File{"squeue_with_cluster_header.txt", '\x1f'},
                                          File{"squeue_null_submit_time.txt", '\x1f'},
                                          File{"squeue_non_utf8_job_name.txt", '\x1f'},
                                          File{"21.08-sacct_hetjob.txt", '|'}}) {
        CAPTURE(name);
        const auto text = shared(name);
        if (!text)
            continue;
        std::size_t state = 0, id = 0, jobs = 0;
        for (const auto &line : split_lines(*text)) {
            const auto row = split(line, separator);
            if (row.size() < 3)
                continue;
            if (const auto at = std::find(row.begin(), row.end(), separator == '|' ? "State" : "STATE"); at != row.end()) {
                state = static_cast<std::size_t>(at - row.begin());
                id = static_cast<std::size_t>(std::find(row.begin(), row.end(), separator == '|' ? "JobID" : "JOBID") - row.begin());
                continue;
            }
            REQUIRE(row.size() > std::max(state, id));
            check_state(row[state]);
            CHECK(parse_leading_id(row[id]).has_value());
            ++jobs;
        }
        CHECK(jobs >= 1);
    }
    if (const auto text = shared("live-25.11.7-squeue_default.txt"))
        for (const auto &row : parse_rows(*text, "|", 8).rows) {
            CHECK(parse_leading_id(row[0]).has_value());
            check_state(row[4]);
            check_state(row[5]);
            CHECK(read_state(row[4]).text == read_state(row[5]).text);
        }
}

TEST_CASE("shared data: scontrol's jobs") {
    for (const std::string name : {"18.08-scontrol_show_job.txt", "24.11-scontrol_show_job_oneline.txt",
                             "live-22.05.8-scontrol_show_job.txt", "live-25.11.7-scontrol_show_job.txt"}) {
        CAPTURE(name);
        const auto text = shared(name);
        if (!text)
            continue;
        const auto records = parse_records(*text);
        CHECK(records.size() >= 3);
        for (const auto &record : records) {
            const auto job = job_of_record(record);
            REQUIRE(job.has_value());
            CAPTURE(job->id.value);
            CHECK_FALSE(job->name.empty());
            CHECK(job->phase != JobPhase::unknown);
            CHECK(job->submitted.has_value());
            CHECK(expand_hostlist(job->nodes).ok());
        }
    }
}

TEST_CASE("shared data: scontrol's nodes and partitions") {
    for (const std::string name : {"18.08-scontrol_show_node.txt",
                             "22.05-scontrol_show_nodes_cloud.txt", "24.11.7-scontrol_show_nodes_oneline.txt",
                             "26.05.2-scontrol_show_nodes_oneline.txt", "live-25.11.7-sinfo_scontrol_node.txt"}) {
        CAPTURE(name);
        const auto text = shared(name);
        if (!text)
            continue;
        std::size_t nodes = 0;
        for (const auto &record : parse_records(*text)) {
            const auto node = node_of_record(record);
            if (!node)
                continue; // partitions are in the last file too
            if (!record.contains("State"))
                continue; // the cloud file ends in a short list of addresses
            CAPTURE(node->name);
            CHECK_FALSE(node->address.empty());
            CHECK_FALSE(node->state.empty());
            CHECK(node->cpus > 0);
            CHECK(node->memory_mib > 0);
            ++nodes;
        }
        CHECK(nodes >= 1);
    }
    if (const auto text = shared("20.02-scontrol_show_partitions.txt"))
        for (const auto &record : parse_records(*text)) {
            const auto partition = partition_of_record(record);
            REQUIRE(partition.has_value());
            CAPTURE(partition->name);
            CHECK_FALSE(partition->state.empty());
            CHECK(partition->total_nodes > 0);
            CHECK(expand_hostlist(partition->nodes).ok());
        }
}

namespace {

// "job_state": "X" or ["X", "Y"]; "state": {"current": ...}
void check_states_in(const Json &value, std::size_t &seen) {
    if (value.is_array())
        for (const auto &item : value)
            check_states_in(item, seen);
    if (!value.is_object())
        return;
    const auto check = [&](const Json &state) {
        std::vector<std::string> words;
        if (state.is_string())
            words = {state.get<std::string>()};
        else if (state.is_array())
            for (const auto &word : state)
                words.push_back(word.get<std::string>());
        else
            return;
        check_state(join(words, ","));
        ++seen;
    };
    for (const auto &[key, item] : value.items()) {
        if (key == "job_state")
            check(item);
        else if (key == "state" && item.is_object() && item.contains("current"))
            check(item["current"]);
        else
            check_states_in(item, seen);
    }
}

} // namespace

TEST_CASE("shared data: the states in JSON of all versions") {
    for (const std::string name : {"21.08-squeue_hetjob.json", "21.08.5-squeue.json", "23-24-slurmweb_job_failed.json",
                             "23-24-slurmweb_job_timeout.json", "24-25-restd_dbjob.json", "24-25-restd_jobs.json",
                             "24.11.6-sacct.json", "24.11.6-squeue.json", "live-22.05.8-squeue.json",
                             "live-25.11.7-scontrol_show_job.json", "live-25.11.7-squeue.json"}) {
        CAPTURE(name);
        const auto text = shared(name);
        if (!text)
            continue;
        const auto json = parse_json(*text, name);
        REQUIRE(json.ok());
        std::size_t seen = 0;
        check_states_in(*json, seen);
        CHECK(seen >= 1);
    }
}

TEST_CASE("shared data: the table of states is whole") {
    const auto text = shared("job_states.tsv");
    if (!text)
        return;
    std::size_t words = 0;
    for (const auto &row : parse_rows(*text, "\t", 7).rows) {
        if (row[0] == "long" || row[0].find('?') != std::string::npos)
            continue;
        CAPTURE(row[0]);
        const auto table = state_words();
        const auto at = std::find_if(table.begin(), table.end(), [&](const StateWord &word) { return word.name == row[0]; });
        REQUIRE(at != table.end());
        CHECK(at->flag == (row[2] == "flag"));
        CHECK((at->meaning == StateMeaning::over) == (row[3] == "yes"));
        CHECK(at->compact == (row[1].front() == '(' ? "" : row[1]));
        ++words;
    }
    CHECK(words == state_words().size());
}

TEST_CASE("shared data: every hostlist expands and is compressed as Slurm does") {
    const auto text = shared("hostlists.tsv");
    if (!text)
        return;
    for (const auto &line : split_lines(*text)) {
        const auto row = split(line, '\t');
        if (row.size() < 5 || row[0] == "expression" || row[0] == "(null)" || row[0] == "None assigned")
            continue; // the last two are Slurm's words for no hosts
        CAPTURE(row[0]);
        const auto hosts = expand_hostlist(row[0]);
        const bool bad = row.size() > 5 && row[5].find("Invalid hostlist") != std::string::npos;
        REQUIRE(hosts.ok() != bad);
        if (bad)
            continue;
        CHECK(join(*hosts, ",") == row[3]);
        CHECK(std::to_string(hosts->size()) == row[2]);
        CHECK(compress_hostlist(*hosts) == row[4]);
    }
}

TEST_CASE("shared data: Slurm's own error texts, as sbatch prints them") {
    const auto text = shared("slurm_errors.tsv");
    if (!text)
        return;
    std::size_t rejected = 0, silent = 0;
    for (const auto &line : split_lines(*text)) {
        const auto row = split(line, '\t');
        if (row.size() < 7 || row[0] == "name")
            continue;
        CAPTURE(row[4]);
        const auto answer = submit_answer(
            CommandResult{1, "", "sbatch: error: Batch job submission failed: " + row[4] + "\n", false});
        CHECK_FALSE(std::holds_alternative<Submitted>(answer));
        if (!row[6].empty()) {
            CHECK(std::holds_alternative<SubmitUnknown>(answer));
            ++silent;
        }
        rejected += std::holds_alternative<Rejected>(answer) ? 1 : 0;
        // What is not of the controller's own range is no answer of it.
        const int code = row[1].empty() ? 0 : std::stoi(row[1]);
        if (code >= 1000 && code < 2000)
            CHECK_FALSE(std::holds_alternative<Rejected>(answer));
    }
    CHECK(silent >= 30);
    CHECK(rejected >= 60);
}

TEST_CASE("shared data: what commands said on live clusters") {
    struct Block { std::string command, text; int code = 0; };
    for (const std::string name : {"live-22.05.8-command_errors.txt", "live-25.11.7-command_errors.txt", "live-25.11.7-controller_down.txt"}) {
        CAPTURE(name);
        const auto text = shared(name);
        if (!text)
            continue;
        std::vector<Block> blocks;
        for (const auto &line : split_lines(*text)) {
            if (starts_with(line, "$ "))
                blocks.push_back({line.substr(2), "", 0});
            else if (!blocks.empty() && starts_with(line, "rc="))
                blocks.back().code = std::stoi(line.substr(3));
            else if (!blocks.empty())
                blocks.back().text += line + "\n";
        }
        const bool down = name.find("controller_down") != std::string::npos;
        for (const auto &block : blocks) {
            CAPTURE(block.command);
            if (!starts_with(block.command, "sbatch") || block.command.find("--test-only") != std::string::npos)
                continue;
            const auto answer = submit_answer(CommandResult{block.code, block.code == 0 ? block.text : "",
                                                            block.code == 0 ? "" : block.text, false});
            CHECK(std::holds_alternative<Submitted>(answer) == (block.code == 0));
            CHECK(std::holds_alternative<Rejected>(answer) == (block.code != 0 && !down));
        }
    }
}

TEST_CASE("shared data: Slurm's commands over SSH with epoch times") {
    const auto text = shared("ssh_command_outputs.json");
    if (!text)
        return;
    const auto json = parse_json(*text, "ssh_command_outputs.json");
    REQUIRE(json.ok());
    for (const auto &entry : *json) {
        const auto command = entry["command"].get<std::string>();
        const auto out = entry["stdout"].get<std::string>();
        CAPTURE(command);
        if (starts_with(command, "sacct"))
            for (const auto &row : parse_rows(out, "|", 20).rows) {
                check_state(row[10]);
                CHECK(parse_slurm_time(row[13]).has_value());
            }
        if (starts_with(command, "scontrol")) {
            const auto job = job_of_record(parse_records(out).at(0));
            REQUIRE(job.has_value());
            CHECK(job->submitted == from_unix_seconds(1781596838));
        }
        if (starts_with(command, "sbatch")) {
            const auto answer = submit_answer(CommandResult{entry["exit_code"].get<int>(), out, entry["stderr"].get<std::string>(), false});
            CHECK(std::holds_alternative<Submitted>(answer) == (entry["exit_code"] == 0));
            CHECK_FALSE(std::holds_alternative<SubmitUnknown>(answer));
        }
    }
}

// What head and agents tell each other. An agent's Report and the head's Order are whole states, not steps: one
// that got lost is made good by the next. Pure.
#pragma once

#include "agent/sight.h"
#include "base/json.h"
#include "base/process.h"
#include "base/result.h"
#include "run/records.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace trainctl {

enum class SetupState { none, running, ok, failed };

// A drill's fault: what the head asks of an agent, and what that one says it did.
struct DrillOrder {
    int number = 0;               // counts up over the attempt; each is carried out once
    int generation = 0;
    std::string kind;             // of run/drill.h
    int rank = -1;
    std::int64_t for_ms = 0;
};
struct DrillDone {
    int number = 0;
    std::string text;
};

// agent -> head: at every heartbeat, and at once when something changed.
struct Report {
    std::uint64_t sequence = 0;
    std::string agent;            // which agent process of the node: another one knows of nothing
    SetupState setup = SetupState::none;
    std::string setup_text;       // of a failed one: its last lines
    bool bad_node = false;        // it failed because the node is not fit, not because of the user's text
    std::string address;          // of this node, numeric, as it reaches the head
    int free_port = 0;            // here, for the next generation's MASTER_PORT
    int generation = 0;           // the newest that was started
    std::vector<RankExit> exits;  // of that generation, from the first one that the head has not acknowledged
    int dead_generation = 0;      // this one and those before it are dead, whole trees
    int doubtful_generation = 0;  // of this one something does not die
    bool term = false;            // this agent got SIGTERM
    std::optional<std::int64_t> step;
    std::optional<double> loss, rate;
    std::string activity;         // what the training says it does besides steps: "evaluation", ...
    int evidence_generation = 0;  // of this one it was collected what the ranks hang in
    std::string evidence;
    std::string note;             // for the log: what is odd on this node
    std::int64_t dropped_lines = 0; // of output: this agent could not write them to its logs
    std::vector<DrillDone> drills;
    Sight sight;                  // of `generation`; agents of before there was any don't send it
};

// What an agent needs to know once.
struct NodeConfig {
    std::string run;
    int attempt = 0;
    std::string job;
    std::string scancel, slurm_conf; // absolute, for an agent whose head is gone; conf empty: the default one
    std::string run_dir, work_dir, logs_dir, checkpoint_dir;
    std::string setup;
    std::vector<std::string> patterns;
    std::string chip;
    int chips_per_node = 0, ranks_per_node = 1;
    std::int64_t heartbeat_ms = 5000;
    std::int64_t lease_ms = 10000;  // of ranks: silence of the head for so long kills them
    std::int64_t leave_ms = 30000;  // and for so long more ends the agent
    bool preflight = true;
    std::string check;              // the user's, with the preflight
    std::uint64_t min_free_mib = 0, memory_mib = 0; // memory 0: not known
    std::uint64_t given_mib = 0;    // what Slurm says that the job has on each node; 0: it does not say
    std::int64_t clock_ms = 0;      // the head's, when it sent this: Unix milliseconds
};

// One generation, as one node gets it.
struct StartSpec {
    int generation = 0;
    int nodes = 1, node_rank = 0, ranks_per_node = 1;
    std::string master_addr;
    int master_port = 0;
    std::vector<std::string> command;
    Environment environment; // on top of what setup left
};

// head -> agent: as the answer to every report, and at once when something changed.
struct Order {
    std::uint64_t answers = 0;     // Report::sequence
    std::int64_t lease_ms = 0;     // left, counted from when that report was sent
    std::optional<NodeConfig> config;
    bool setup = false;
    std::optional<StartSpec> start;
    int kill_generation = 0;       // this one and those before it
    int save_generation = 0;       // send it `save_signal`, once for each `save_number`
    int save_number = 0;
    std::string save_signal;
    int evidence_generation = 0;   // collect what its ranks hang in, once
    int seen_generation = 0;       // of this generation's exits the first `seen_exits` arrived
    std::size_t seen_exits = 0;
    std::vector<DrillOrder> drills;
    bool bye = false;              // kill whatever is left, and end
};

Json to_json(const Report &report);
Json to_json(const Order &order);
// Errors: invalid, for anything that is not such a message.
Result<Report> report_from(std::string_view text);
Result<Order> order_from(std::string_view text);

// head.json in the attempt's folder (0600): where the head listens, and the secret.
struct HeadAddress {
    std::vector<std::string> addresses;
    int port = 0;
    std::string secret;
};
Json to_json(const HeadAddress &address);
Result<HeadAddress> head_address_from(std::string_view text, const std::string &where);

} // namespace trainctl

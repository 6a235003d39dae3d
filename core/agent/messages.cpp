#include "agent/messages.h"

#include <type_traits>

// What is not there is left out, and stays as it is when read.
template <class T> struct nlohmann::adl_serializer<std::optional<T>> {
    static void to_json(json &out, const std::optional<T> &value) {
        if (value)
            out = *value;
        else
            out = nullptr;
    }
    static void from_json(const json &in, std::optional<T> &value) {
        if (in.is_null())
            value.reset();
        else
            value = in.get<T>();
    }
};

namespace trainctl {

NLOHMANN_JSON_SERIALIZE_ENUM(SetupState, {{SetupState::none, "none"}, {SetupState::running, "running"}, {SetupState::ok, "ok"}, {SetupState::failed, "failed"}})
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RankExit, rank, local_rank, node, exit_code, signal, at_s, killed, last_lines)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DrillOrder, number, generation, kind, rank, for_ms)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DrillDone, number, text)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Report, sequence, agent, setup, setup_text, bad_node, address, free_port, generation, exits,
                                   dead_generation, doubtful_generation, term, step, loss, rate, activity, evidence_generation,
                                   evidence, note, dropped_lines, drills)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Observation, what, node, text, rank, at)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Sight, node, generation, oom_kills, looking, observations)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(NodeConfig, run, attempt, job, scancel, slurm_conf, run_dir, work_dir, logs_dir, checkpoint_dir, setup, patterns, chip,
                                   chips_per_node, ranks_per_node, heartbeat_ms, lease_ms, leave_ms, preflight, check,
                                   min_free_mib, memory_mib, given_mib, clock_ms)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(StartSpec, generation, nodes, node_rank, ranks_per_node, master_addr, master_port, command, environment)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Order, answers, lease_ms, config, setup, start, kill_generation, save_generation, save_number, save_signal,
                                   evidence_generation, seen_generation, seen_exits, drills, bye)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(HeadAddress, addresses, port, secret)

namespace {

constexpr const char *sight_key = "sight";

template <class T> Result<T> parse(std::string_view text, const std::string &where) {
    auto json = parse_json(text, where);
    if (!json)
        return json.error();
    try {
        auto out = json->get<T>();
        if constexpr (std::is_same_v<T, Report>)
            if (const auto sight = json->find(sight_key); sight != json->end())
                out.sight = sight->template get<Sight>();
        return out;
    } catch (const Json::exception &problem) {
        return Error{ErrorKind::invalid, problem.what(), where, ""};
    }
}

} // namespace

Json to_json(const Report &report) {
    Json out = report;
    if (report.sight.generation > 0) // a beat says nothing of it
        out[sight_key] = report.sight;
    return out;
}
Json to_json(const Order &order) { return Json(order); }
Json to_json(const HeadAddress &address) { return Json(address); }
Result<Report> report_from(std::string_view text) { return parse<Report>(text, "report"); }
Result<Order> order_from(std::string_view text) { return parse<Order>(text, "order"); }
Result<HeadAddress> head_address_from(std::string_view text, const std::string &where) { return parse<HeadAddress>(text, where); }

} // namespace trainctl

#include "agent/messages.h"

namespace trainctl {

namespace {

template <class T> void put(Json &json, const char *name, const std::optional<T> &value) {
    if (value)
        json[name] = *value;
}
template <class T> void get(const Json &json, const char *name, std::optional<T> &value) {
    if (const auto found = json.find(name); found != json.end())
        value = found->get<T>();
}

Json exit_json(const RankExit &exit) {
    return Json{{"rank", exit.rank}, {"local_rank", exit.local_rank}, {"node", exit.node}, {"code", exit.exit_code},
                {"signal", exit.signal}, {"at", exit.at_s}, {"lines", exit.last_lines}};
}

RankExit exit_from(const Json &json) {
    RankExit exit;
    json.at("rank").get_to(exit.rank);
    json.at("local_rank").get_to(exit.local_rank);
    json.at("node").get_to(exit.node);
    json.at("code").get_to(exit.exit_code);
    json.at("signal").get_to(exit.signal);
    json.at("at").get_to(exit.at_s);
    json.at("lines").get_to(exit.last_lines);
    return exit;
}

Json config_json(const NodeConfig &config) {
    return Json{{"run", config.run}, {"attempt", config.attempt}, {"job", config.job}, {"work_dir", config.work_dir},
                {"logs_dir", config.logs_dir}, {"checkpoint_dir", config.checkpoint_dir}, {"setup", config.setup},
                {"patterns", config.patterns}, {"chips", config.chips_per_node}, {"ranks", config.ranks_per_node},
                {"heartbeat_ms", config.heartbeat_ms}, {"lease_ms", config.lease_ms}};
}

NodeConfig config_from(const Json &json) {
    NodeConfig config;
    json.at("run").get_to(config.run);
    json.at("attempt").get_to(config.attempt);
    json.at("job").get_to(config.job);
    json.at("work_dir").get_to(config.work_dir);
    json.at("logs_dir").get_to(config.logs_dir);
    json.at("checkpoint_dir").get_to(config.checkpoint_dir);
    json.at("setup").get_to(config.setup);
    json.at("patterns").get_to(config.patterns);
    json.at("chips").get_to(config.chips_per_node);
    json.at("ranks").get_to(config.ranks_per_node);
    json.at("heartbeat_ms").get_to(config.heartbeat_ms);
    json.at("lease_ms").get_to(config.lease_ms);
    return config;
}

Json start_json(const StartSpec &spec) {
    return Json{{"generation", spec.generation}, {"nodes", spec.nodes}, {"node_rank", spec.node_rank},
                {"ranks", spec.ranks_per_node}, {"master_addr", spec.master_addr}, {"master_port", spec.master_port},
                {"command", spec.command}, {"environment", spec.environment}};
}

StartSpec start_from(const Json &json) {
    StartSpec spec;
    json.at("generation").get_to(spec.generation);
    json.at("nodes").get_to(spec.nodes);
    json.at("node_rank").get_to(spec.node_rank);
    json.at("ranks").get_to(spec.ranks_per_node);
    json.at("master_addr").get_to(spec.master_addr);
    json.at("master_port").get_to(spec.master_port);
    json.at("command").get_to(spec.command);
    json.at("environment").get_to(spec.environment);
    return spec;
}

template <class T, class Fill> Result<T> parse(std::string_view text, const std::string &where, const Fill &fill) {
    auto json = parse_json(text, where);
    if (!json)
        return json.error();
    try {
        T out;
        fill(*json, out);
        return out;
    } catch (const Json::exception &problem) {
        return Error{ErrorKind::invalid, problem.what(), where, ""};
    }
}

} // namespace

Json to_json(const Report &report) {
    Json exits = Json::array();
    for (const auto &exit : report.exits)
        exits.push_back(exit_json(exit));
    Json out{{"sequence", report.sequence}, {"setup", static_cast<int>(report.setup)}, {"setup_text", report.setup_text},
             {"address", report.address}, {"free_port", report.free_port}, {"generation", report.generation},
             {"exits", std::move(exits)}, {"dead", report.dead_generation}, {"doubtful", report.doubtful_generation},
             {"term", report.term}, {"note", report.note}};
    put(out, "step", report.step);
    put(out, "loss", report.loss);
    put(out, "rate", report.rate);
    return out;
}

Result<Report> report_from(std::string_view text) {
    return parse<Report>(text, "report", [](const Json &json, Report &out) {
        json.at("sequence").get_to(out.sequence);
        const int setup = json.at("setup").get<int>();
        out.setup = setup >= 0 && setup <= static_cast<int>(SetupState::failed) ? static_cast<SetupState>(setup) : SetupState::none;
        json.at("setup_text").get_to(out.setup_text);
        json.at("address").get_to(out.address);
        json.at("free_port").get_to(out.free_port);
        json.at("generation").get_to(out.generation);
        for (const auto &exit : json.at("exits"))
            out.exits.push_back(exit_from(exit));
        json.at("dead").get_to(out.dead_generation);
        json.at("doubtful").get_to(out.doubtful_generation);
        json.at("term").get_to(out.term);
        json.at("note").get_to(out.note);
        get(json, "step", out.step);
        get(json, "loss", out.loss);
        get(json, "rate", out.rate);
    });
}

Json to_json(const Order &order) {
    Json out{{"answers", order.answers}, {"lease_ms", order.lease_ms}, {"setup", order.setup}, {"kill", order.kill_generation},
             {"save", order.save_generation}, {"save_signal", order.save_signal}, {"seen_exits", order.seen_exits}, {"seen_generation", order.seen_generation},
             {"bye", order.bye}};
    if (order.config)
        out["config"] = config_json(*order.config);
    if (order.start)
        out["start"] = start_json(*order.start);
    return out;
}

Result<Order> order_from(std::string_view text) {
    return parse<Order>(text, "order", [](const Json &json, Order &out) {
        json.at("answers").get_to(out.answers);
        json.at("lease_ms").get_to(out.lease_ms);
        json.at("setup").get_to(out.setup);
        json.at("kill").get_to(out.kill_generation);
        json.at("save").get_to(out.save_generation);
        json.at("save_signal").get_to(out.save_signal);
        json.at("seen_exits").get_to(out.seen_exits);
        json.at("seen_generation").get_to(out.seen_generation);
        json.at("bye").get_to(out.bye);
        if (const auto found = json.find("config"); found != json.end())
            out.config = config_from(*found);
        if (const auto found = json.find("start"); found != json.end())
            out.start = start_from(*found);
    });
}

Json to_json(const HeadAddress &address) {
    return Json{{"format", 1}, {"addresses", address.addresses}, {"port", address.port}, {"secret", address.secret}};
}

Result<HeadAddress> head_address_from(std::string_view text, const std::string &where) {
    return parse<HeadAddress>(text, where, [](const Json &json, HeadAddress &out) {
        json.at("addresses").get_to(out.addresses);
        json.at("port").get_to(out.port);
        json.at("secret").get_to(out.secret);
    });
}

} // namespace trainctl

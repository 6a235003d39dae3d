#include "run/records.h"

#include "base/files.h"
#include "base/text.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <tuple>

namespace trainctl {

namespace {

constexpr int format_version = 1; // of every file of a run directory

constexpr std::array<const char *, 10> outcome_names{"finished",   "rank_failed", "node_lost", "hang", "setup_failed", "time_limit",
                                                    "terminated", "stopped",     "do_not_restart", "lease_lost"};
constexpr std::array<const char *, 3> end_names{"finished", "failed", "stopped"};

template <class Enum, std::size_t n> Json enum_json(Enum value, const std::array<const char *, n> &names) {
    return names.at(static_cast<std::size_t>(value));
}
template <class Enum, std::size_t n> Enum enum_from(const Json &value, const std::array<const char *, n> &names) {
    const auto word = value.get<std::string>();
    const auto at = std::find(names.begin(), names.end(), word);
    if (at == names.end())
        throw Json::other_error::create(501, "unknown word " + word, nullptr);
    return static_cast<Enum>(at - names.begin());
}

// One value each way; the records below only list their fields.
template <class T> Json out(const T &value) { return value; }
Json out(const JobId &id) { return id.value; }
Json out(const RunId &run) { return run.value; }
Json out(const AttemptNo &no) { return no.value; }
Json out(const OutcomeKind &kind) { return enum_json(kind, outcome_names); }
Json out(const EndKind &kind) { return enum_json(kind, end_names); }
Json out(const AgentNetwork &network) { return to_string(network); }
Json out(const RankExit &exit) { return to_json(exit); }
Json out(const std::vector<Failure> &failures) {
    Json list = Json::array();
    for (const auto &failure : failures)
        list.push_back(to_json(failure));
    return list;
}
template <class T> Json out(const std::optional<T> &value) { return value ? out(*value) : Json{}; }

template <class T> void in(const Json &json, T &value) { json.get_to(value); }
void in(const Json &json, Json &value) { value = json; }
void in(const Json &json, JobId &id) { json.get_to(id.value); }
void in(const Json &json, RunId &run) { json.get_to(run.value); }
void in(const Json &json, AttemptNo &no) { json.get_to(no.value); }
void in(const Json &json, OutcomeKind &kind) { kind = enum_from<OutcomeKind>(json, outcome_names); }
void in(const Json &json, EndKind &kind) { kind = enum_from<EndKind>(json, end_names); }
void in(const Json &json, AgentNetwork &network) { network = enum_from<AgentNetwork>(json, agent_network_names); }
void in(const Json &json, RankExit &exit);
void in(const Json &json, std::vector<Failure> &failures) {
    for (const auto &entry : json)
        failures.push_back(failure_from_json(entry));
}
template <class T> void in(const Json &json, std::optional<T> &value) {
    if (json.is_null())
        return;
    T inner{};
    in(json, inner);
    value = std::move(inner);
}

struct Writer {
    Json json = Json::object();
    template <class T> void operator()(const char *name, const T &value) { json[name] = out(value); }
};

struct Reader {
    const Json &json;
    std::string field; // being read: for the message when it is of the wrong type
    template <class T> void operator()(const char *name, T &value) {
        field = name;
        if (const auto at = json.find(name); at != json.end())
            in(*at, value);
    }
};

template <class A, class R> void fields(A &a, R &r, const RunInfo *) {
    a("run", r.run), a("name", r.name), a("owner", r.owner), a("cluster", r.cluster);
    a("trainctl_version", r.trainctl_version), a("agent", r.agent);
    a("code_archive", r.code_archive), a("code_hash", r.code_hash), a("git_commit", r.git_commit);
    a("git_dirty", r.git_dirty), a("job_environment", r.job_environment);
    a("created", r.created), a("submit_horizon_s", r.submit_horizon_s), a("agent_network", r.agent_network);
}
template <class A, class R> void fields(A &a, R &r, const Intent *) {
    a("maker", r.maker), a("made", r.made), a("token", r.token), a("after", r.after);
    a("options", r.options), a("exclude_nodes", r.exclude_nodes);
}
template <class A, class R> void fields(A &a, R &r, const JobFile *) {
    a("job", r.id), a("submit_time", r.submitted), a("nodes", r.nodes);
}
template <class A, class R> void fields(A &a, R &r, const Claim *) {
    a("job", r.id), a("restarts", r.restarts), a("host", r.host), a("by", r.by), a("made", r.made);
}
template <class A, class R> void fields(A &a, R &r, const ProgressFile *) {
    a("beat", r.beat), a("written", r.written), a("generation", r.generation), a("phase", r.phase);
    a("step", r.step), a("total_steps", r.total_steps), a("loss", r.loss), a("rate", r.rate);
    a("checkpoint", r.checkpoint), a("checkpoint_step", r.checkpoint_step);
    a("resumed_from", r.resumed_from), a("resumed_step", r.resumed_step);
    a("training_since", r.training_since), a("nodes", r.nodes), a("ranks", r.ranks), a("last_failure", r.last_failure);
    a("dropped_lines", r.dropped_lines);
    a("agents_by_srun", r.agents_by_srun);
}
template <class A, class R> void fields(A &a, R &r, const RankExit *) {
    a("rank", r.rank), a("local_rank", r.local_rank), a("node", r.node), a("exit_code", r.exit_code);
    a("signal", r.signal), a("at_s", r.at_s), a("last_lines", r.last_lines);
}
template <class A, class R> void fields(A &a, R &r, const Outcome *) {
    a("kind", r.kind), a("text", r.text), a("exit_code", r.exit_code), a("ranks_dead", r.ranks_dead);
    a("first", r.first), a("suspect_nodes", r.suspect_nodes), a("signals", r.signals);
    a("checkpoint", r.checkpoint), a("checkpoint_step", r.checkpoint_step), a("last_step", r.last_step);
    a("resumed_step", r.resumed_step), a("written", r.written), a("training_s", r.training_s), a("setup_s", r.setup_s);
    a("generations", r.generations), a("failures", r.failures);
    a("job", r.job), a("restarts", r.restarts), a("history", r.history);
}
template <class A, class R> void fields(A &a, R &r, const Abandoned *) {
    a("node", r.node), a("why", r.why), a("written", r.written);
}
template <class A, class R> void fields(A &a, R &r, const Verdict *) {
    a("cause", r.cause), a("text", r.text), a("slurm_state", r.slurm_state), a("slurm_reason", r.slurm_reason);
    a("evidence", r.evidence), a("exclude_nodes", r.exclude_nodes), a("written", r.written), a("by", r.by);
}
template <class A, class R> void fields(A &a, R &r, const Ended *) {
    a("kind", r.kind), a("why", r.why), a("attempt", r.attempt), a("when", r.when);
}
template <class A, class R> void fields(A &a, R &r, const Event *) {
    a("writer", r.writer), a("seq", r.sequence), a("attempt", r.attempt), a("generation", r.generation);
    a("wall_ms", r.wall_ms), a("event", r.name), a("data", r.data);
}

template <class T> Json write_record(const T &record) {
    Writer writer;
    fields(writer, record, &record);
    return std::move(writer.json);
}

template <class T> T read_record(Reader &reader) {
    T record;
    fields(reader, record, static_cast<const T *>(nullptr));
    return record;
}

template <class T> Json with_format(const T &record) {
    Json json = write_record(record);
    json["format"] = format_version;
    return json;
}

void in(const Json &json, RankExit &exit) {
    Reader reader{json, ""};
    exit = read_record<RankExit>(reader);
}

} // namespace

const char *to_string(OutcomeKind kind) { return outcome_names.at(static_cast<std::size_t>(kind)); }
const char *to_string(EndKind kind) { return end_names.at(static_cast<std::size_t>(kind)); }

std::string RunPaths::dir() const { return join_path(join_path(root, "runs"), run.value); }
std::string RunPaths::file(const std::string &name) const { return join_path(dir(), name); }
std::string RunPaths::attempt(AttemptNo no) const { return join_path(attempts(), to_string(no)); }
std::string RunPaths::attempt_file(AttemptNo no, const std::string &name) const { return join_path(attempt(no), name); }
std::string RunPaths::wish(const std::string &name) const { return file("control/" + name); }
std::string RunPaths::journal(const std::string &writer) const { return file("journal/" + writer + ".jsonl"); }

Json to_json(const RunInfo &record) { return with_format(record); }
Json to_json(const Intent &record) { return with_format(record); }
Json to_json(const JobFile &record) { return with_format(record); }
Json to_json(const Claim &record) { return with_format(record); }
Json to_json(const ProgressFile &record) { return with_format(record); }
Json to_json(const RankExit &record) { return write_record(record); }
Json to_json(const Outcome &record) { return with_format(record); }
Json to_json(const Abandoned &record) { return with_format(record); }
Json to_json(const Verdict &record) { return with_format(record); }
Json to_json(const Ended &record) { return with_format(record); }
Json to_json(const Event &record) { return write_record(record); }

template <class T> Result<T> from_json_text(std::string_view text, const std::string &where) {
    auto json = parse_json(text, where);
    if (!json)
        return json.error();
    if (!json->is_object())
        return Error{ErrorKind::invalid, "this is not a JSON object", where, ""};
    if (const auto at = json->find("format"); at != json->end() && (!at->is_number() || at->get<int>() > format_version))
        return Error{ErrorKind::invalid, "written by a newer trainctl", where, "use that version, or a newer one"};
    Reader reader{*json, ""};
    try {
        return read_record<T>(reader);
    } catch (const Json::exception &error) {
        return Error{ErrorKind::invalid, fmt::format("field '{}': {}", reader.field, error.what()), where, ""};
    }
}

template Result<RunInfo> from_json_text<RunInfo>(std::string_view, const std::string &);
template Result<Intent> from_json_text<Intent>(std::string_view, const std::string &);
template Result<JobFile> from_json_text<JobFile>(std::string_view, const std::string &);
template Result<Claim> from_json_text<Claim>(std::string_view, const std::string &);
template Result<ProgressFile> from_json_text<ProgressFile>(std::string_view, const std::string &);
template Result<Outcome> from_json_text<Outcome>(std::string_view, const std::string &);
template Result<Abandoned> from_json_text<Abandoned>(std::string_view, const std::string &);
template Result<Verdict> from_json_text<Verdict>(std::string_view, const std::string &);
template Result<Ended> from_json_text<Ended>(std::string_view, const std::string &);
template Result<Event> from_json_text<Event>(std::string_view, const std::string &);

Journal read_journals(const std::map<std::string, std::string> &content_by_path) {
    Journal journal;
    for (const auto &[path, content] : content_by_path) {
        const auto lines = split_lines(content);
        for (std::size_t i = 0; i < lines.size(); ++i) {
            const auto where = fmt::format("{}:{}", path, i + 1);
            if (lines[i].empty())
                continue;
            auto event = from_json_text<Event>(lines[i], where);
            if (event)
                journal.events.push_back(std::move(*event));
            else if (i + 1 < lines.size() || content.back() == '\n') // else: torn by a death in the middle of a write
                journal.problems.push_back(event.error().text());
        }
    }
    std::stable_sort(journal.events.begin(), journal.events.end(), [](const Event &a, const Event &b) {
        return std::tie(a.attempt, a.generation, a.sequence) < std::tie(b.attempt, b.generation, b.sequence);
    });
    return journal;
}

} // namespace trainctl

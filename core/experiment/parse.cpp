#include "experiment/parse.h"

#include "base/text.h"
#include "experiment/keys.h"
#include "experiment/overrides.h"
#include "experiment/values.h"
#include "experiment/yaml_tree.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

// Rules between keys. A key whose own value was wrong has its default here, so each rule first asks whether all
// that it compares were read.
class CrossChecks {
public:
    CrossChecks(ExperimentDraft &draft, ReadKeys &read) : draft_(draft), read_(read) {
        for (const auto &one : read.values)
            good_.push_back(experiment_keys()[one.row].spec.path);
    }

    void run() {
        nodes();
        node_counts();
        chip();
        gres();
        times();
        checkpoint();
        launch();
        secrets();
    }

private:
    bool given(const std::string &path) const { return read_.at.count(path) > 0; }
    bool good(const std::string &path) const { return std::find(good_.begin(), good_.end(), path) != good_.end(); }
    // Given and read without a problem, or not given at all.
    bool usable(const std::string &path) const { return good(path) || !given(path); }
    void add(const std::string &path, std::string message) {
        read_.findings.push_back({read_.position(path), std::move(message)});
    }

    void nodes() {
        Resources &resources = draft_.experiment.resources;
        if (!given("resources.nodes") && !given("resources.chips")) {
            add("resources.nodes", "missing key 'resources.nodes' (or 'resources.chips'), for example "
                                   "`resources.nodes: 2`");
            return;
        }
        if (!good("resources.chips") || !usable("resources.per_node"))
            return;
        const int chips = *draft_.chips;
        if (resources.per_node == 0) {
            add("resources.chips", "'resources.chips' needs 'resources.per_node': how many chips a node has");
        } else if (chips % resources.per_node != 0) {
            const int more = (chips / resources.per_node + 1) * resources.per_node;
            const int less = more - resources.per_node;
            add("resources.chips",
                fmt::format("'resources.chips' must be a multiple of 'resources.per_node' ({}), not {}: write {}{}",
                            resources.per_node, chips, less > 0 ? fmt::format("{} or ", less) : "", more));
        } else if (good("resources.nodes") && resources.nodes != chips / resources.per_node) {
            add("resources.chips",
                fmt::format("{} chips with {} on each node are {} nodes, but 'resources.nodes' is {}: "
                            "give one of the two",
                            chips, resources.per_node, chips / resources.per_node, resources.nodes));
        } else if (!given("resources.nodes")) {
            resources.nodes = chips / resources.per_node;
            nodes_known_ = true;
        }
    }

    void node_counts() {
        const Resources &resources = draft_.experiment.resources;
        if ((good("resources.nodes") || nodes_known_) && good("resources.min_nodes") &&
            resources.min_nodes > resources.nodes)
            add("resources.min_nodes", fmt::format("'resources.min_nodes' ({}) can't be more than the nodes that train "
                                                   "({})",
                                                   resources.min_nodes, resources.nodes));
    }

    void chip() {
        if (good("resources.chip") && usable("resources.per_node") && draft_.experiment.resources.per_node == 0)
            add("resources.chip", "'resources.chip' needs 'resources.per_node': how many chips each node gives");
    }

    void gres() {
        if (!good("resources.sbatch") || draft_.experiment.resources.per_node == 0)
            return;
        for (const auto &option : draft_.experiment.resources.sbatch)
            if (option == "--gres" || starts_with(option, "--gres="))
                add("resources.sbatch",
                    "--gres can't be given beside 'resources.per_node': it would replace the chips");
    }

    void times() {
        const Experiment &e = draft_.experiment;
        if (usable("recovery.lease") && usable("recovery.heartbeat") && e.recovery.lease < 3 * e.recovery.heartbeat)
            add(given("recovery.lease") ? "recovery.lease" : "recovery.heartbeat",
                fmt::format("'recovery.lease' ({}) must be at least three times 'recovery.heartbeat' ({})",
                            duration_text(e.recovery.lease), duration_text(e.recovery.heartbeat)));
        node_timeout();
        if (good("checkpoint.save_signal") && usable("checkpoint.save_time") && good("resources.time") &&
            e.checkpoint.save_time >= *e.resources.time)
            add(given("checkpoint.save_time") ? "checkpoint.save_time" : "resources.time",
                fmt::format("'checkpoint.save_time' ({}) must be shorter than 'resources.time' ({})",
                            duration_text(e.checkpoint.save_time), duration_text(*e.resources.time)));
    }

    // Where it is not given it follows what is.
    void node_timeout() {
        Recovery &recovery = draft_.experiment.recovery;
        if (!usable("recovery.lease") || !usable("recovery.heartbeat") || !usable("recovery.node_timeout"))
            return;
        if (!given("recovery.node_timeout"))
            recovery.node_timeout = std::min(std::max(recovery.node_timeout, 2 * recovery.heartbeat), recovery.lease);
        else if (recovery.node_timeout < 2 * recovery.heartbeat || recovery.node_timeout > recovery.lease)
            add("recovery.node_timeout",
                fmt::format("'recovery.node_timeout' ({}) must be at least two times 'recovery.heartbeat' ({}) and at most "
                            "'recovery.lease' ({})", duration_text(recovery.node_timeout),
                            duration_text(recovery.heartbeat), duration_text(recovery.lease)));
    }

    void launch() {
        const Launch &launch = draft_.experiment.launch;
        if (good("launch.preset") && usable("launch.kind") && launch.preset != LaunchPreset::none && launch.kind != LaunchKind::node)
            add("launch.preset", "'launch.preset' needs 'launch.kind: node': one launcher on each node");
        if (good("launch.mpi") && usable("launch.kind") && launch.kind != LaunchKind::srun)
            add("launch.mpi", "'launch.mpi' needs 'launch.kind: srun'");
    }

    void checkpoint() {
        if (good("checkpoint.marker") && good("checkpoint.manifest"))
            add("checkpoint.manifest", "give 'checkpoint.marker' or 'checkpoint.manifest', not both");
    }

    void secrets() {
        if (!good("environment.secrets") || !good("environment.env"))
            return;
        for (const auto &name : draft_.experiment.environment.secrets)
            if (draft_.experiment.environment.env.count(name) > 0)
                add("environment.secrets", fmt::format("{} is in 'environment.env' too: give it in one place", name));
    }

    ExperimentDraft &draft_;
    ReadKeys &read_;
    std::vector<std::string> good_;
    bool nodes_known_ = false;
};

Problem problem_at(const ExperimentText &input, const Finding &finding) {
    if (finding.at.source == 0)
        return {input.file, finding.at.line, finding.at.col, finding.message};
    const auto &text = input.overrides.at(static_cast<std::size_t>(finding.at.source - 1));
    return {"--set " + text, 0, 0, finding.message};
}

std::vector<Problem> sorted_problems(const ExperimentText &input, std::vector<Finding> findings) {
    std::stable_sort(findings.begin(), findings.end(), [](const Finding &a, const Finding &b) {
        return std::tie(a.at.source, a.at.line, a.at.col) < std::tie(b.at.source, b.at.line, b.at.col);
    });
    std::vector<Problem> problems;
    for (const auto &finding : findings)
        problems.push_back(problem_at(input, finding));
    return problems;
}

std::vector<Finding> warn(const ExperimentText &input, const Experiment &experiment, const ReadKeys &read) {
    std::vector<Finding> warnings;
    const std::string &chip = experiment.resources.chip;
    const auto &known = input.known_chips;
    if (!chip.empty() && !known.empty() && std::find(known.begin(), known.end(), chip) == known.end()) {
        const auto near = did_you_mean(chip, known);
        warnings.push_back(
            {read.position("resources.chip"), fmt::format("'{}' is no chip that trainctl knows{}", chip,
                                                          near.empty() ? "; it is given to Slurm as it is"
                                                                       : fmt::format(": did you mean '{}'?", near))});
    }
    const auto &command = experiment.launch.command;
    if (command.size() == 1 && command[0].find(' ') != std::string::npos)
        warnings.push_back({read.position("launch.command"),
                            "'launch.command' is one word with blanks in it, so a program of that name: write it "
                            "without the brackets or quotes to have it split"});
    return warnings;
}

} // namespace

ParsedExperiment parse_experiment(const ExperimentText &input) {
    YamlTree tree = parse_yaml(input.text);
    std::vector<Finding> findings = std::move(tree.findings);
    const Position end = tree.complete || findings.empty() ? Position{} : findings.back().at;
    apply_overrides(tree.root, input.overrides, findings);

    static const std::vector<KeySpec> specs = specs_of(experiment_keys());
    ExperimentDraft draft;
    ReadKeys read = read_into(draft, experiment_keys(), {tree.root, specs, input.environment, {}, tree.complete});
    if (tree.complete && (tree.root.kind == YamlNode::Kind::map || tree.root.kind == YamlNode::Kind::null))
        CrossChecks(draft, read).run();
    for (auto &finding : read.findings)
        // What stands near a syntax error or behind it may be its mere consequence.
        if (tree.complete || finding.at.source > 0 || finding.at.line + 1 < end.line)
            findings.push_back(std::move(finding));

    ParsedExperiment parsed;
    parsed.problems = sorted_problems(input, std::move(findings));
    if (parsed.ok())
        parsed.warnings = sorted_problems(input, warn(input, draft.experiment, read));
    for (const auto &[path, at] : read.at)
        parsed.places[path] = problem_at(input, {at, ""});
    parsed.experiment = std::move(draft.experiment);
    return parsed;
}

std::string ParsedExperiment::text() const {
    std::vector<std::string> lines;
    for (const auto &problem : problems)
        lines.push_back(problem.text());
    return join(lines, "\n");
}

std::string emit_experiment(const Experiment &experiment) {
    ExperimentDraft draft{experiment, std::nullopt};
    return yaml_file(lines_of(experiment_keys(), draft));
}

} // namespace trainctl

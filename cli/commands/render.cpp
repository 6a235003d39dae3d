// trainctl render: the batch script as it would be submitted.
#include "agent_file.h"
#include "cluster_link.h"
#include "command.h"
#include "experiment_file.h"
#include "note.h"

#include "base/files.h"
#include "base/json.h"
#include "base/text.h"
#include "script/render.h"

#include <fmt/format.h>
#include <memory>

namespace trainctl {

namespace {

struct Options {
    ExperimentRequest request;
    std::string run;
    int attempt = 1;
    bool options_only = false, json = false;
};

std::string preview_id(const std::string &name) {
    std::string id;
    for (const char c : name)
        id += (c >= 'A' && c <= 'Z') ? static_cast<char>(c - 'A' + 'a') : (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '-';
    return id.substr(0, 40) + "-preview";
}

std::string quoted_lines(const std::vector<std::string> &options) {
    std::string lines;
    for (const auto &option : options)
        lines += shell_quote(option) + "\n";
    return lines;
}

int render(const Options &options) {
    LoadedExperiment loaded;
    if (const int code = load_experiment(options.request, loaded); code != exit_ok)
        return code;
    const auto agent = find_agent();
    if (!agent)
        return report_error(agent.error());
    const std::string run = options.run.empty() ? preview_id(loaded.experiment.name) : options.run;
    if (!valid_run_id(run))
        return report_error({ErrorKind::invalid, "'" + run + "' can't be the id of a run", "--run", "lower-case letters, digits and dashes, 48 at most"});
    auto link = ClusterLink::open(loaded.experiment.cluster);
    if (!link)
        return report_error(link.error());
    const auto root = link->absolute_root();
    if (!root) {
        const int code = report_error(root.error());
        note("hint: with an absolute `root` in the profile of {} no cluster is asked\n", loaded.profile.name);
        return code;
    }
    AttemptPlan plan{loaded.experiment, RunId{run}, AttemptNo{options.attempt}, *root, "", {}, {}};
    plan.agent = join_path(plan.root, "bin/" + agent->name);
    const auto rendered = render_attempt(plan, loaded.template_text);
    if (!rendered)
        return report_error(rendered.error());
    print(options.json           ? dump_json({{"format", 1}, {"run", run}, {"script", rendered->script}, {"options", rendered->options}}, 2) + "\n"
          : options.options_only ? quoted_lines(rendered->options)
                                 : rendered->script);
    return exit_ok;
}

} // namespace

void add_render(CLI::App &app, Invocation &invocation) {
    auto *command = app.add_subcommand("render", "Print the batch script that would be submitted");
    const auto options = std::make_shared<Options>();
    add_experiment_options(*command, options->request);
    command->add_option("--run", options->run, "The run's id (default: NAME-preview)")->type_name("ID");
    command->add_option("--attempt", options->attempt, "Which attempt (default: 1)")->type_name("N")->check(whole_number(1, most_attempts));
    command->add_flag("--options", options->options_only, "Print sbatch's options instead, a line each, quoted for a shell");
    command->add_flag("--json", options->json, "Print JSON: the script and sbatch's options");
    command->footer("Nothing is sent; a cluster is asked only for your home folder, where its `root` begins with ~ or $HOME.\n"
                    "The same input gives the same bytes.\n"
                    "Example:\n  trainctl render experiment.yaml | shellcheck -");
    command->callback([&invocation, options] { invocation.action = [options] { return render(*options); }; });
}

} // namespace trainctl

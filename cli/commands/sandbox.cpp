// trainctl sandbox: a private Slurm cluster with an sshd on this machine.
#include "command.h"
#include "note.h"

#include "base/files.h"
#include "base/text.h"
#include "cluster/profile.h"
#include "experiment/values.h"
#include "sandbox/sandbox.h"
#include "sandbox/site.h"

#include <fmt/format.h>
#include <memory>
#include <optional>
#include <unistd.h>

namespace trainctl {

namespace {

struct Options {
    std::string name = "sandbox", state;
    std::optional<int> nodes, gpus_per_node, slurmd_timeout_s, max_submit_jobs, preempt_grace_s;
    std::optional<std::string> disk, chip, scheduler, prolog, site;
    bool accounting = false, json = false;

    std::string folder() const { return sandbox_state(state, name); }
};

// A deadline here is this machine's failure, not a cluster out of reach.
int failed(const Error &error) {
    const int code = report_error(error);
    return code == exit_unreachable ? exit_failed : code;
}

std::string seconds(Duration took) { return fmt::format("{:.2f} s", std::chrono::duration<double>(took).count()); }

void choose(const Options &options, SandboxSpec &spec) {
    // Another `up` of one that is strict already changes nothing that was chosen then.
    if (options.site == "strict" && !spec.strict())
        make_strict(spec);
    spec.site = options.site.value_or(spec.site);
    spec.accounting = spec.accounting || options.accounting;
    spec.max_submit_jobs = options.max_submit_jobs.value_or(spec.max_submit_jobs);
    if (options.disk) {
        const auto mib = parse_size_mib(*options.disk);
        spec.disk_mib = mib ? static_cast<int>(*mib) : -1; // refused with the sizes that can be
    }
    spec.preempt_grace_s = options.preempt_grace_s.value_or(spec.preempt_grace_s);
    spec.nodes = options.nodes.value_or(spec.nodes);
    spec.gpus_per_node = options.gpus_per_node.value_or(spec.gpus_per_node);
    spec.slurmd_timeout_s = options.slurmd_timeout_s.value_or(spec.slurmd_timeout_s);
    spec.chip = options.chip.value_or(spec.chip);
    spec.scheduler = options.scheduler.value_or(spec.scheduler);
    if (options.prolog) {
        char absolute[4096];
        const bool there = ::realpath(options.prolog->c_str(), absolute) != nullptr;
        spec.prolog = there ? absolute : *options.prolog;
    }
}

// "--name x" and "--state y" as the user gave them, for commands to type next.
std::string same_options(const Options &options) {
    std::string text = options.name == "sandbox" ? "" : " --name " + options.name;
    return options.state.empty() ? text : text + " --state " + shell_quote(options.state);
}

std::string site_lines(const SandboxConfig &config) {
    std::string text;
    for (const auto &line : describe_site(config))
        text += "  " + line + "\n";
    return text;
}

int status(const Options &options);

int up(const Options &options) {
    if (options.prolog && ::access(options.prolog->c_str(), X_OK) != 0)
        return report_error({ErrorKind::invalid, "the prolog is not an executable file", *options.prolog, ""});
    UpRequest request;
    request.name = options.name;
    request.choose = [&](SandboxSpec &spec) { choose(options, spec); };
    request.state = options.folder();
    request.profiles = profiles_path();
    request.progress = [](const std::string &what, const std::string &how, Duration took) {
        note("  {:<11} {:<20} {:>8}\n", what, how, seconds(took));
    };
    const auto report = sandbox_up(request);
    if (!report)
        return failed(report.error());
    if (options.json)
        return status(options);
    const auto &[spec, ports, layout, user, machine] = report->config;
    const std::string chips = spec.gpus_per_node == 0 ? "no GPUs" : fmt::format("{} {} each", spec.gpus_per_node, spec.chip);
    const std::string kept = report->kept.empty()      ? ""
                             : report->started.empty() ? ", all of it ran already"
                                                       : fmt::format(", {} of its parts ran already", report->kept.size());
    print(fmt::format("The sandbox '{}' is up: {} nodes, {}{} ({})\n"
                      "  cluster {:<20} over SSH      try  ssh -F {} {}\n"
                      "  cluster {:<20} this machine  try  eval \"$(trainctl sandbox env{})\"; sinfo\n"
                      "  end it with           trainctl sandbox down{}\n",
                      spec.name, spec.nodes, chips, kept, seconds(report->took), spec.name, layout.ssh_config(), spec.name,
                      spec.name + "-local", same_options(options), same_options(options)));
    print(site_lines(report->config));
    return exit_ok;
}

int down(const Options &options) {
    const auto report = sandbox_down(options.name, options.folder(), profiles_path());
    if (!report)
        return failed(report.error());
    if (!report->existed) {
        print(fmt::format("There is no sandbox '{}' at {}\n", options.name, options.folder()));
        return exit_ok;
    }
    print(fmt::format("The sandbox '{}' is gone: {} processes ended, {} removed{}\n", options.name, report->killed, options.folder(),
                      report->runs > 0 ? fmt::format(", {} runs with it", report->runs) : ""));
    return exit_ok;
}

Error no_sandbox(const Options &options) {
    return {ErrorKind::not_found, "there is no sandbox '" + options.name + "'", options.folder(),
            "trainctl sandbox up" + same_options(options)};
}

int status(const Options &options) {
    const auto found = sandbox_status(options.folder());
    if (!found)
        return failed(found.error());
    if (!*found && options.json) {
        print(dump_json({{"format", 1}, {"name", options.name}, {"state", "none"}, {"folder", options.folder()}}, 2) + "\n");
        return exit_failed;
    }
    if (!*found)
        return failed(no_sandbox(options));
    const auto &sandbox = **found;
    if (options.json) {
        print(dump_json(to_json(sandbox), 2) + "\n");
        return sandbox.up() ? exit_ok : exit_failed;
    }
    std::string text = fmt::format("{:<11} {:>8} {:>6}  {}\n", "PART", "PID", "PORT", "STATE");
    for (const auto &[part, pid, listens] : sandbox.parts) {
        const auto node = sandbox.nodes.find(part.node);
        std::string state = pid == 0 ? "does not run" : !listens ? "starts" : "runs";
        if (node != sandbox.nodes.end())
            state += ", Slurm says " + node->second;
        text += fmt::format("{:<11} {:>8} {:>6}  {}\n", part.name, pid != 0 ? std::to_string(pid) : "-",
                            part.port != 0 ? std::to_string(part.port) : "-", state);
    }
    const auto &layout = sandbox.config.layout;
    text += fmt::format("The sandbox '{}' is {}: {} processes, files in {}, logs in {}/log\n", sandbox.config.spec.name,
                        sandbox.up() ? "up" : sandbox.running() ? "not whole" : "down", sandbox.processes, layout.state,
                        layout.state);
    print(text + site_lines(sandbox.config));
    if (!sandbox.up())
        note("hint: trainctl sandbox up{} starts what is missing\n", same_options(options));
    return sandbox.up() ? exit_ok : exit_failed;
}

int env(const Options &options) {
    const auto found = sandbox_status(options.folder());
    if (!found)
        return failed(found.error());
    if (!*found)
        return failed(no_sandbox(options));
    // So that `trainctl` and Slurm's commands are found, whatever PATH was.
    std::string path = own_variable("PATH", "/usr/bin:/bin");
    char own[4096];
    const auto n = ::readlink("/proc/self/exe", own, sizeof own);
    const std::string sinfo = find_daemon("sinfo").value_or("/usr/bin/sinfo");
    for (const auto &folder : {parent_path(sinfo), parent_path({own, n > 0 ? static_cast<std::size_t>(n) : 0})})
        if ((":" + path + ":").find(":" + folder + ":") == std::string::npos)
            path = folder + ":" + path;
    const auto conf = (*found)->config.layout.slurm_conf();
    if (options.json)
        print(dump_json({{"format", 1}, {"SLURM_CONF", conf}, {"PATH", path}}, 2) + "\n");
    else
        print(fmt::format("export SLURM_CONF={}\nexport PATH={}\n", shell_quote(conf), shell_quote(path)));
    return exit_ok;
}

using Action = int (*)(const Options &);

CLI::App *add(CLI::App &sandbox, Invocation &invocation, const std::shared_ptr<Options> &options, std::pair<const char *, Action> verb,
              const char *what) {
    auto *command = sandbox.add_subcommand(verb.first, what);
    command->add_option("--name", options->name, "Which sandbox; several can be up at a time (default: sandbox)")->type_name("NAME");
    command->add_option("--state", options->state, "Where its files are (default: ~/.local/state/trainctl/sandbox/NAME)")->type_name("FOLDER");
    command->callback([&invocation, options, action = verb.second] { invocation.action = [options, action] { return action(*options); }; });
    return command;
}

} // namespace

void add_sandbox(CLI::App &app, Invocation &invocation) {
    auto *sandbox = app.add_subcommand("sandbox", "A real Slurm cluster and an sshd on this machine, as yourself, to try things on");
    sandbox->require_subcommand(1);
    sandbox->footer("Example:\n  trainctl sandbox up && trainctl sandbox status && trainctl sandbox down");
    const auto options = std::make_shared<Options>();

    auto *command = add(*sandbox, invocation, options, {"up", up}, "Start it, or repair what is not running");
    command->add_option("--nodes", options->nodes, "Nodes n1, n2, ... (default: 8)")->type_name("N");
    command->add_option("--gpus-per-node", options->gpus_per_node, "GPUs that each node claims to have (default: 8)")->type_name("N");
    command->add_option("--chip", options->chip, "What Slurm calls them (default: h100)")->type_name("NAME");
    command->add_option("--scheduler", options->scheduler,
                        "tuned: starts jobs at once; default: Slurm's own SchedulerParameters (default: tuned)")->type_name("KIND");
    command->add_option("--slurmd-timeout", options->slurmd_timeout_s,
                        "Seconds until Slurm gives up a silent node (default: 10, on a strict site 300)")->type_name("SECONDS");
    command->add_option("--prolog", options->prolog, "A script that each node runs before a job's first process")->type_name("FILE");
    command->add_option("--site", options->site,
                        "strict: Slurm's own scheduling and timeouts, prolog and epilog, no dependencies, no sbatch from nodes, "
                        "limits of memory; what the machine does not allow is said (default: plain)")->type_name("KIND");
    command->add_flag("--json", options->json, "Print what `status --json` prints");
    command->add_flag("--accounting", options->accounting, "With MariaDB and slurmdbd, so that sacct works");
    command->add_option("--max-submit-jobs", options->max_submit_jobs,
                        "Jobs that may be pending or running at a time; needs --accounting (default: no limit)")->type_name("N");
    command->add_option("--preempt-grace", options->preempt_grace_s,
                        "Seconds that a preempted job has between SIGTERM and SIGKILL (default: 10)")->type_name("SECONDS");
    command->add_option("--disk", options->disk,
                        "A file system of its own for the run root, such as 2G, in memory: for the drill disk-full; root only")->type_name("SIZE");
    command->footer("Partitions: gpu (default), short (2 minutes at most), down (accepts jobs, never starts them), "
                    "preemptible and urgent (jobs in urgent end those in preemptible).\n"
                    "Jobs get SIGKILL 5 s after SIGTERM (on a strict site: 30 s).\n"
                    "Examples:\n  trainctl sandbox up --nodes 4 --chip a100\n"
                    "  trainctl sandbox up --site strict --accounting --slurmd-timeout 20");

    command = add(*sandbox, invocation, options, {"down", down},
                  "End every process of it, its jobs' too, and remove its files, its runs' too");
    command->footer("Example:\n  trainctl sandbox down");

    command = add(*sandbox, invocation, options, {"status", status}, "Show each part; the exit code is 0 when all of it runs");
    command->add_flag("--json", options->json, "Print JSON");
    command->footer("Example:\n  trainctl sandbox status --json");

    command = add(*sandbox, invocation, options, {"env", env}, "Print what a shell needs for sinfo, squeue and sbatch there");
    command->add_flag("--json", options->json, "Print JSON");
    command->footer("Example:\n  eval \"$(trainctl sandbox env)\"; sinfo");
}

} // namespace trainctl

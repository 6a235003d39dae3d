// trainctl: reads the command line, runs one command.
#include "commands.h"
#include "help.h"
#include "note.h"

#include "base/text.h"

#include <csignal>
#include <exception>
#include <fmt/format.h>
#include <unistd.h>
#include <vector>

namespace trainctl {

namespace {

constexpr const char *description =
    "Training runs on any Slurm cluster: submitted once, resumed from the newest checkpoint until they are done.";
constexpr const char *examples = "Examples:\n"
                                 "  trainctl sandbox up              a private Slurm cluster on this machine\n"
                                 "  trainctl COMMAND --help          what a command does, with an example\n"
                                 "Exit codes: 0 ok, 1 failed, 2 usage or invalid experiment,\n"
                                 "  3 the run failed for good, 4 cluster unreachable, 130 interrupted";

// CLI11 would call a misspelt command an unexpected argument. 0 where all words are commands.
int unknown_command(const CLI::App &top, int argc, char **argv) {
    const CLI::App *app = &top;
    std::string spelled = "trainctl";
    for (int i = 1; i < argc && argv[i][0] != '-'; ++i) {
        const auto subcommands = app->get_subcommands([](const CLI::App *) { return true; });
        if (subcommands.empty())
            return 0;
        const std::string word = argv[i];
        std::vector<std::string> names;
        const CLI::App *next = nullptr;
        for (const auto *sub : subcommands) {
            names.push_back(sub->get_name());
            if (sub->get_name() == word)
                next = sub;
        }
        if (next == nullptr) {
            const std::string meant = did_you_mean(word, names);
            note("{}: error: there is no command '{}'{}\nhint: one of {}\n", spelled, word,
                       meant.empty() ? "" : "; did you mean '" + meant + "'?", join(names, ", "));
            return exit_usage;
        }
        app = next;
        spelled += " " + word;
    }
    return 0;
}

int run(int argc, char **argv) {
    CLI::App app{description, "trainctl"};
    app.formatter(std::make_shared<HelpFormatter>());
    app.footer(examples);
    app.set_version_flag("--version", "trainctl " TRAINCTL_VERSION);
    app.require_subcommand(1);
    app.fallthrough();
    app.add_flag_callback("-v,--verbose", be_verbose, "say on stderr what is run on the cluster, and for how long");
    Invocation invocation;
    for (const auto add : commands)
        add(app, invocation);
    if (argc < 2) {
        note("{}", app.help());
        return exit_usage;
    }
    if (const int code = unknown_command(app, argc, argv); code != 0)
        return code;
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success &asked) { // --help, --version
        return app.exit(asked) == 0 ? exit_ok : exit_failed;
    } catch (const CLI::ParseError &wrong) {
        const auto chosen = app.get_subcommands();
        note("trainctl: error: {}\nhint: trainctl {}--help\n", wrong.what(),
                   chosen.empty() ? "" : chosen.front()->get_name() + " ");
        return exit_usage;
    }
    INVARIANT(invocation.action);
    return invocation.action();
}

} // namespace

} // namespace trainctl

int main(int argc, char **argv) {
    trainctl::open_standard_files();
    // A lost connection is an error to report, not a signal to die of; see print() for stdout.
    std::signal(SIGPIPE, SIG_IGN);
    try {
        const int code = trainctl::run(argc, argv);
        return std::fflush(stdout) == 0 ? code : code == 0 ? trainctl::exit_failed : code;
    } catch (const std::exception &problem) {
        trainctl::note("trainctl: error: {}\n", problem.what());
        return trainctl::exit_failed;
    }
}

// trainctl diagnose: why a job failed, from its logs, whoever ran it.
#include "command.h"
#include "terminal.h"

#include "base/files.h"
#include "experiment/yaml_tree.h"
#include "failure/diagnosis_json.h"
#include "failure/read_log.h"

#include <memory>

namespace trainctl {

namespace {

struct Options {
    std::vector<std::string> files;
    std::string rules;
    bool json = false, classes = false;
};

Result<FailureBook> book_of(const std::string &rules) {
    if (rules.empty())
        return builtin_failures();
    auto text = read_at_most(rules, max_yaml_bytes);
    if (!text)
        return text.error();
    if (!*text)
        return Error{ErrorKind::invalid, "there is no such file", rules, ""};
    return with_rules(builtin_failures(), **text, rules);
}

int print_classes(const FailureBook &book, bool json) {
    const auto classes = classes_json(book);
    print(json ? dump_json({{"format", 1}, {"classes", classes}}, 2) + "\n" : classes_text(classes));
    return exit_ok;
}

int diagnose(const Options &options) {
    const auto book = book_of(options.rules);
    if (!book)
        return report_error(book.error());
    if (options.classes)
        return print_classes(*book, options.json);
    if (options.files.empty())
        return report_error({ErrorKind::invalid, "no log to read", "", "trainctl diagnose FILE...; - is standard input"});
    FailureLogReader reader(*book);
    Evidence evidence;
    Json logs = Json::array();
    for (const auto &file : options.files) {
        auto findings = reader.read(file);
        if (!findings)
            return report_error(findings.error());
        logs.push_back(to_json(*findings));
        evidence.logs.push_back(*std::move(findings));
    }
    auto diagnosis = to_json(decide(*book, evidence));
    if (!options.json) {
        print(diagnosis_text(diagnosis, stdout_style()));
        return exit_ok;
    }
    diagnosis["format"] = 1;
    diagnosis["logs"] = std::move(logs);
    print(dump_json(diagnosis, 2) + "\n");
    return exit_ok;
}

} // namespace

void add_diagnose(CLI::App &app, Invocation &invocation) {
    auto *command = app.add_subcommand("diagnose", "Say why a job failed, from its logs");
    const auto options = std::make_shared<Options>();
    command->add_option("file", options->files, "Logs of one job: what its ranks, its script and Slurm printed; - is standard input")->type_name("FILE");
    command->add_option("--rules", options->rules, "Rules on top of the built-in ones")->type_name("FILE");
    command->add_flag("--classes", options->classes, "Print all classes of failures and what is done about each");
    command->add_flag("--json", options->json, "Print JSON");
    command->footer("The exit code is 0 when the logs could be read, whatever they say.\n"
                    "Examples:\n  trainctl diagnose slurm-4711.out\n  zcat old.log.gz | trainctl diagnose -");
    command->callback([&invocation, options] { invocation.action = [options] { return diagnose(*options); }; });
}

} // namespace trainctl

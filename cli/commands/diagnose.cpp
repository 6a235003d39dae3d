// trainctl diagnose: why a job failed, from its logs and from what Slurm says of it, whoever ran it.
#include "command.h"
#include "job_evidence.h"
#include "rules_files.h"
#include "terminal.h"

#include "failure/diagnosis_json.h"
#include "report/report.h"

#include <memory>

namespace trainctl {

namespace {

struct Options {
    std::vector<std::string> files;
    std::string rules, job, cluster;
    bool json = false, classes = false;
};

int print_classes(const FailureBook &book, bool json) {
    const auto classes = classes_json(book);
    print(json ? dump_json({{"format", 1}, {"classes", classes}}, 2) + "\n" : classes_text(classes));
    return exit_ok;
}

// The job first: its own output is what the others are beside.
Result<JobEvidence> look_at_the_job(const Options &options, FailureLogReader &reader) {
    auto link = ClusterLink::open(options.cluster);
    return link ? look_at_job(*link, reader, options.job) : Result<JobEvidence>{link.error()};
}

int diagnose(const Options &options) {
    auto book = rules_of_cluster(options.cluster);
    if (book)
        book = with_rules_file(*std::move(book), options.rules);
    if (!book)
        return report_error(book.error());
    if (options.classes)
        return print_classes(*book, options.json);
    if (options.files.empty() && options.job.empty())
        return report_error({ErrorKind::invalid, "no log to read", "", "trainctl diagnose FILE..., or --job 12345; - is standard input"});
    FailureLogReader reader(*book);
    Evidence evidence;
    Json job, problems = Json::array();
    if (!options.job.empty()) {
        auto seen = look_at_the_job(options, reader);
        if (!seen)
            return report_error(seen.error());
        job = std::move(seen->job);
        problems = seen->problems;
        evidence.slurm = std::move(seen->slurm);
        evidence.logs = std::move(seen->logs);
    }
    for (const auto &file : options.files) {
        auto findings = reader.read(file);
        if (!findings)
            return report_error(findings.error());
        evidence.logs.push_back(*std::move(findings));
    }
    auto diagnosis = to_json(decide(*book, evidence));
    Json logs = Json::array();
    for (const auto &findings : evidence.logs)
        logs.push_back(to_json(findings));
    diagnosis["logs"] = std::move(logs);
    if (!job.is_null()) {
        diagnosis["job"] = std::move(job);
        diagnosis["not_read"] = std::move(problems);
    }
    if (!options.json) {
        print(job_text(diagnosis, stdout_style()) + diagnosis_text(diagnosis, stdout_style()));
        return exit_ok;
    }
    diagnosis["format"] = 1;
    print(dump_json(diagnosis, 2) + "\n");
    return exit_ok;
}

} // namespace

void add_diagnose(CLI::App &app, Invocation &invocation) {
    auto *command = app.add_subcommand("diagnose", "Say why a job failed, from its logs and from Slurm");
    const auto options = std::make_shared<Options>();
    command->add_option("file", options->files, "Logs of one job: what its ranks, its script and Slurm printed; - is standard input")->type_name("FILE");
    command->add_option("--job", options->job, "Any job of Slurm's, with its output: 12345, 12345_7 of an array, 12345+1 of a heterogeneous one")->type_name("ID");
    command->add_option("--cluster", options->cluster, "The cluster of the job; its rules are used")->type_name("NAME");
    command->add_option("--rules", options->rules, "Rules on top of the built-in ones")->type_name("FILE");
    command->add_flag("--classes", options->classes, "Print all classes of failures and what is done about each");
    command->add_flag("--json", options->json, "Print JSON");
    command->footer("The exit code is 0 when the logs could be read, or Slurm knows the job,\n"
                    "whatever they say.\n"
                    "Examples:\n  trainctl diagnose slurm-4711.out\n  trainctl diagnose --job 4711 --cluster sandbox\n  zcat old.log.gz | trainctl diagnose -");
    command->callback([&invocation, options] { invocation.action = [options] { return diagnose(*options); }; });
}

} // namespace trainctl

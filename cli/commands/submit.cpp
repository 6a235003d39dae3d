// trainctl submit: sends an experiment and its code to a cluster and starts its first attempt.
#include "cluster_link.h"
#include "command.h"
#include "experiment_file.h"
#include "follow.h"
#include "note.h"
#include "run_cache.h"
#include "secrets.h"

#include "base/hash.h"
#include "base/ids.h"
#include "base/text.h"
#include "experiment/parse.h"
#include "remote/upload.h"
#include "run/run_rules.h"
#include "snapshot/archive.h"
#include "snapshot/snapshot.h"

#include <fmt/format.h>
#include <memory>

namespace trainctl {

namespace {

struct SubmitOptions {
    ExperimentRequest experiment;
    bool wait = false, json = false;
};

constexpr std::size_t run_word = 5; // 31^5 runs of one name before two are likely to meet

struct Submission {
    LoadedExperiment loaded;
    std::optional<FileList> code;
    Json secrets = Json::object();
    std::string run, key;
    bool again = false; // goes on with a submit whose answer never came
};

Result<void> list_snapshot(Submission &submission) {
    const Code &code = submission.loaded.experiment.code;
    if (code.path.empty())
        return {};
    auto list = list_code({code.path, code.exclude});
    if (!list)
        return list.error();
    for (const auto &warning : list->warnings)
        note("trainctl: warning: {}\n", warning);
    submission.code = std::move(*list);
    return {};
}

// The same experiment and code to the same cluster, while no answer has come, is the same run.
Result<void> choose_run(Submission &submission) {
    const auto &loaded = submission.loaded;
    submission.key = sha256_hex(loaded.profile.name + "\n" + loaded.profile.root + "\n" + emit_experiment(loaded.experiment) + "\n" +
                                (submission.code ? submission.code->hash : "") + "\n" + loaded.cluster_rules + "\n" + loaded.own_rules);
    if (const auto pending = pending_submit(submission.key); pending && valid_run_id(*pending)) {
        submission.run = *pending;
        submission.again = true;
        return {};
    }
    const auto fresh = loaded.experiment.name + "-" + random_word(run_word);
    auto marked = remember_submit(submission.key, fresh);
    if (!marked)
        return marked.error();
    submission.run = *marked;
    submission.again = submission.run != fresh;
    return {};
}

Json request_of(const Submission &submission, const std::string &agent_hash) {
    const auto &loaded = submission.loaded;
    Json info{{"name", loaded.experiment.name}, {"trainctl_version", TRAINCTL_VERSION}, {"agent_hash", agent_hash},
              {"agent_network", to_string(loaded.profile.agent_network)}};
    Json request{{"verb", "submit"}, {"run", submission.run}, {"experiment", emit_experiment(loaded.experiment)},
                 {"template", loaded.template_text}, {"environment", loaded.profile.environment}, {"secrets", submission.secrets},
                 {"rules", {{cluster_rules_file, loaded.cluster_rules}, {own_rules_file, loaded.own_rules}}}};
    if (submission.code) {
        info["code_hash"] = submission.code->hash;
        info["git_commit"] = submission.code->git_commit;
        info["git_dirty"] = submission.code->git_dirty;
        request["git_diff"] = to_base64(submission.code->git_diff); // any bytes: JSON has none
        request["git_diff_cut"] = submission.code->git_diff_cut;
    }
    if (loaded.profile.submit_retry)
        info["submit_horizon_s"] = loaded.profile.submit_retry->count();
    request["info"] = std::move(info);
    return request;
}

Result<void> send_code(ClusterLink &link, const Submission &submission, const std::string &path) {
    note("sending {} of code\n", human_bytes(archive_bytes(*submission.code)));
    const auto stream = std::make_shared<ArchiveStream>(*submission.code);
    Upload put;
    put.path = path;
    put.more_input = [stream] { return stream->next_piece(); };
    return upload(link.transport(), put);
}

Result<Json> send(ClusterLink &link, const Submission &submission) {
    const Json request = request_of(submission, link.agent_hash());
    auto answer = link.call(request);
    if (!answer || !answer->contains("need_code"))
        return answer;
    if (auto sent = send_code(link, submission, answer->value("need_code", "")); !sent)
        return sent.error();
    return link.call(request);
}

void tell(const Json &answer, const ClusterLink &link) {
    const auto run = answer.value("run", "");
    print(run + "\n");
    const auto job = answer["job"].is_null() ? std::string{"no job yet"} : fmt::format("job {}", answer["job"].get<std::uint64_t>());
    note("submitted to {}: attempt 1 is {} ({})\n", link.where(), job, answer.value("state", ""));
    if (const auto never = answer.value("never_starts", ""); !never.empty())
        note("trainctl: warning: Slurm took the job, and it can never start: {}\nhint: trainctl cancel {}, then correct the experiment\n",
                   never, run);
    note("next:  trainctl status {0}\n       trainctl logs -f {0}\n       trainctl cancel {0}\n", run);
}

bool has_ended(const Json &answer) {
    const auto state = answer.value("state", "");
    return state == "finished" || state == "failed" || state == "stopped";
}

// Chooses the run and submits it. One that was left unanswered is gone on with even where it has ended since: a script
// that tries again must not have it trained twice. Once its end is told, the same command makes a new run.
Result<Json> send_as_a_run(ClusterLink &link, Submission &submission) {
    if (auto chosen = choose_run(submission); !chosen)
        return chosen.error();
    if (submission.again)
        note("going on with {}, whose submit was not answered\n", submission.run);
    const auto &cluster = submission.loaded.profile.name;
    if (auto remembered = remember_run({submission.run, cluster}); !remembered)
        return remembered.error();
    auto answer = send(link, submission);
    if (!answer)
        return answer;
    if (auto remembered = remember_run({submission.run, cluster, true}); !remembered)
        note("trainctl: warning: {}\n", remembered.error().text());
    if (submission.again && has_ended(*answer))
        note("{} has ended since ({}); the same command again makes a new run\n", submission.run, answer->value("state", ""));
    return answer;
}

int submit(const SubmitOptions &options) {
    Submission submission;
    if (const int code = load_experiment(options.experiment, submission.loaded); code != exit_ok)
        return code;
    if (const int code = read_secrets(submission.loaded.experiment.environment.secrets, submission.secrets); code != exit_ok)
        return code;
    if (auto listed = list_snapshot(submission); !listed)
        return report_error(listed.error());
    auto link = ClusterLink::open(submission.loaded.experiment.cluster);
    if (!link)
        return report_error(link.error());
    auto answer = send_as_a_run(*link, submission);
    if (!answer) {
        const bool decided = answer.error().kind == ErrorKind::refused; // any other may have left a run
        if (decided)
            forget_submit(submission.key, submission.run);
        const int code = report_error(answer.error());
        if (!decided)
            note("hint: the same command again goes on with this run ({}); nothing is submitted twice\n", submission.run);
        return code;
    }
    if (answer->value("state", "") == "unknown") {
        note("trainctl: error: {}\nhint: the same command again goes on with this run ({}); nothing is submitted twice\n",
                   answer->value("text", ""), submission.run);
        return exit_unreachable;
    }
    if (options.json)
        print(dump_json(*answer, 2) + "\n");
    else
        tell(*answer, *link);
    forget_submit(submission.key, submission.run); // only now: who dies before the id was printed asks again
    if (!answer->value("never_starts", "").empty())
        return exit_failed;
    if (!options.wait)
        return exit_ok;
    FollowRequest follow;
    follow.run = submission.run;
    follow.logs = false;
    return follow_run(*link, follow);
}

} // namespace

void add_submit(CLI::App &app, Invocation &invocation) {
    auto *command = app.add_subcommand("submit", "Submit an experiment; prints the run's id");
    command->footer("Examples:\n  trainctl submit experiment.yaml\n  trainctl submit experiment.yaml --set resources.nodes=4 --wait");
    const auto options = std::make_shared<SubmitOptions>();
    add_experiment_options(*command, options->experiment);
    command->add_flag("--wait", options->wait, "Stay until the run's end; the exit code tells how it ended");
    command->add_flag("--json", options->json, "Print JSON");
    command->callback([&invocation, options] { invocation.action = [options] { return submit(*options); }; });
}

} // namespace trainctl

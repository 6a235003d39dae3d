#include "experiment_file.h"

#include "base/files.h"
#include "base/process.h"
#include "base/text.h"
#include "cluster/chips.h"
#include "command.h"
#include "note.h"
#include "experiment/parse.h"
#include "experiment/yaml_tree.h"
#include "failure/book.h"
#include "rules_files.h"
#include "script/render.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <re2/re2.h>
#include <utility>

namespace trainctl {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t largest_template = 1u << 20; // the built-in one has 2 kB

// Collects what is found after parsing, at the place of the key that it belongs to.
class Loader {
public:
    Loader(const ExperimentRequest &request, CheckedExperiment &out) : request_(request), out_(out) {}

    void run() {
        if (auto text = read_user_file(request_.file, request_.text))
            parse(*text);
    }

private:
    std::optional<std::string> read_user_file(const std::string &path, const std::optional<std::string> &given) {
        if (given)
            return given;
        std::error_code failed;
        const auto status = fs::status(path, failed);
        if (fs::is_directory(status)) {
            add("", "this is a folder, not an experiment file");
            return std::nullopt;
        }
        auto content = read_at_most(path, max_yaml_bytes);
        if (content && *content)
            return std::move(**content);
        if (content)
            add("", "there is no such file");
        else if (content.error().kind == ErrorKind::invalid)
            add("", content.error().message + ": no experiment file");
        else
            add("", content.error().message);
        return std::nullopt;
    }

    void parse(const std::string &text) {
        auto parsed = parse_experiment(
            {text, request_.file, request_.overrides, own_environment(), known_chip_names()});
        places_ = std::move(parsed.places);
        out_.problems = std::move(parsed.problems);
        out_.warnings = std::move(parsed.warnings);
        loaded().experiment = std::move(parsed.experiment);
        if (!out_.ok())
            return;
        find_cluster();
        if (!request_.text)
            resolve_code();
        read_template();
        read_rules();
        if (out_.ok())
            try_render();
    }

    void find_cluster() {
        auto profile = find_profile(profiles_path(), loaded().experiment.cluster);
        if (profile) {
            loaded().profile = std::move(*profile);
            apply_defaults(loaded().experiment, loaded().profile);
            return;
        }
        const Error &error = profile.error();
        if (error.kind == ErrorKind::not_found)
            add("cluster", error.message + (error.hint.empty() ? "" : ": " + error.hint));
        else
            for (const auto &line : split_lines(error.text())) // lines with places of their own
                out_.problems.push_back(Problem{profiles_path(), 0, 0, strip(line, profiles_path() + ": ")});
    }

    void resolve_code() {
        std::string &path = loaded().experiment.code.path;
        if (path.empty())
            return;
        path = absolute(path);
        std::error_code failed;
        const auto status = fs::status(path, failed);
        if (!fs::exists(status))
            add("code.path", "there is no folder " + path);
        else if (!fs::is_directory(status))
            add("code.path", path + " is not a folder");
    }

    void read_template() {
        std::string &path = loaded().experiment.template_path;
        loaded().template_text = builtin_template("slurm");
        if (request_.text)
            return;
        const std::string own = join_path(parent_path(profiles_path()), "templates/slurm.sbatch.mustache");
        std::error_code failed;
        if (path.empty() && fs::exists(own, failed))
            path = own;
        else if (path.empty())
            return;
        else
            path = absolute(path);
        auto text = read_at_most(path, largest_template);
        if (text && *text)
            loaded().template_text = std::move(**text);
        else
            add("template", text ? "there is no file " + path : text.error().text());
    }

    // The experiment's on top of the cluster's, as they are used.
    void read_rules() {
        const auto site = request_.text ? "" : rules_path_of(loaded().profile);
        std::string &path = loaded().experiment.recovery.rules;
        const bool own = !path.empty() && (!request_.text || sets_rules());
        if (site.empty() && !own)
            return; // the built-in ones need no look, which takes milliseconds
        FailureBook book = builtin_failures();
        read_rules("cluster", site, book, loaded().cluster_rules);
        if (!own)
            return;
        path = absolute(path);
        read_rules("recovery.rules", path, book, loaded().own_rules);
    }

    bool sets_rules() const {
        return std::any_of(request_.overrides.begin(), request_.overrides.end(), [](const auto &set) {
            const auto key = set.substr(0, set.find('='));
            return key == "recovery.rules" || key == "recovery";
        });
    }

    void read_rules(const std::string &key, const std::string &path, FailureBook &book, std::string &into) {
        if (path.empty())
            return;
        auto text = read_rules_file(path);
        if (!text)
            return add(key, text.error().text());
        auto more = with_rules(book, *text, path);
        if (more) {
            book = std::move(*more);
            into = std::move(*text);
            return;
        }
        for (const auto &line : split_lines(more.error().message)) // with places of their own
            out_.problems.push_back(problem_of_line(path, line));
    }

    // "path:line:col: message", or "path: message".
    static Problem problem_of_line(const std::string &path, const std::string &line) {
        static const RE2 shape(":(\\d{1,8}):(\\d{1,8}): (.*)");
        Problem problem{path, 0, 0, strip(line, path + ": ")};
        RE2::FullMatch(strip(line, path), shape, &problem.line, &problem.col, &problem.message);
        return problem;
    }

    // With names as good as any: what Slurm or bash could not take shows itself.
    void try_render() {
        const std::string root = "/trainctl";
        AttemptPlan plan{loaded().experiment, RunId{"check"}, AttemptNo{1}, root, root + "/bin/trainctl-agent", {}, {}};
        const auto rendered = render_attempt(plan, loaded().template_text);
        if (rendered)
            return;
        const Error &error = rendered.error();
        const std::string message = error.message + (error.hint.empty() ? "" : ": " + error.hint);
        if (places_.count(error.where) > 0 || loaded().experiment.template_path.empty())
            add(error.where, message);
        else
            out_.problems.push_back(template_problem(error.where, message));
    }

    // "path:line:col" as the template engine says it.
    Problem template_problem(const std::string &where, const std::string &message) const {
        const std::string &path = loaded_path();
        const auto parts = split(starts_with(where, path + ":") ? where.substr(path.size() + 1) : "", ':');
        const auto number = [](const std::string &text) {
            return !text.empty() && text.size() < 9 && text.find_first_not_of("0123456789") == std::string::npos ? std::stoi(text) : 0;
        };
        return parts.size() == 2 ? Problem{path, number(parts[0]), number(parts[1]), message}
                                 : Problem{where.empty() ? path : where, 0, 0, message};
    }
    const std::string &loaded_path() const { return out_.loaded.experiment.template_path; }

    std::string absolute(const std::string &path) const {
        std::error_code failed;
        const auto folder = fs::absolute(request_.file, failed).parent_path();
        auto text = (folder / path).lexically_normal().string();
        if (text.size() > 1 && text.back() == '/')
            text.pop_back();
        return text;
    }

    static std::string strip(const std::string &text, const std::string &prefix) {
        return starts_with(text, prefix) ? text.substr(prefix.size()) : text;
    }

    void add(const std::string &key, const std::string &message) {
        const auto found = places_.find(key);
        Problem problem = found == places_.end() ? Problem{request_.file, 0, 0, ""} : found->second;
        problem.message = key.empty() || found != places_.end() ? message : key + ": " + message;
        out_.problems.push_back(std::move(problem));
    }

    LoadedExperiment &loaded() { return out_.loaded; }

    const ExperimentRequest &request_;
    CheckedExperiment &out_;
    std::map<std::string, Problem> places_;
};

} // namespace

CheckedExperiment check_experiment(const ExperimentRequest &request) {
    CheckedExperiment checked;
    checked.loaded.file = request.file;
    Loader(request, checked).run();
    return checked;
}

void print_problems(const CheckedExperiment &checked) {
    for (const auto &problem : checked.problems)
        note("{}\n", problem.text());
    for (auto warning : checked.warnings) {
        warning.message = "warning: " + warning.message;
        note("{}\n", warning.text());
    }
}

int load_experiment(const ExperimentRequest &request, LoadedExperiment &loaded) {
    auto checked = check_experiment(request);
    print_problems(checked);
    if (!checked.ok())
        return exit_usage;
    loaded = std::move(checked.loaded);
    return exit_ok;
}

void add_set_option(CLI::App &command, std::vector<std::string> &overrides) {
    command.add_option("--set", overrides, "KEY.PATH=VALUE, laid over the file's value; again for more")
        ->type_name("KEY=VALUE")
        ->allow_extra_args(false); // else it would take the file's name too
}

void add_experiment_options(CLI::App &command, ExperimentRequest &request) {
    command.add_option("FILE", request.file, "The experiment, a YAML file")->required()->type_name("");
    add_set_option(command, request.overrides);
}

} // namespace trainctl

#include "sandbox/accounting.h"

#include "base/process.h"
#include "base/text.h"
#include "sandbox/sandbox.h"
#include "sandbox/site.h"

#include <filesystem>
#include <fmt/format.h>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr auto make_deadline = std::chrono::seconds{60}; // 2 s on a quiet machine

Result<CommandResult> sacctmgr(const SandboxConfig &config, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"sacctmgr", "--immediate", "--noheader", "--parsable2"});
    return run_command({.argv = arguments,
                        .input = "",
                        .environment = Environment{{"PATH", daemon_path}, {"SLURM_CONF", config.layout.slurm_conf()}},
                        .deadline = std::chrono::seconds{20}});
}

// "trainctl|1" where the user's jobs are accounted for as they should be.
Result<bool> registered(const SandboxConfig &config) {
    const auto shown = sacctmgr(config, {"show", "association", "where", "cluster=" + config.spec.name, "user=" + config.user.name,
                                         std::string{"account="} + sandbox_account, "format=account,maxsubmitjobs"});
    if (!shown)
        return shown.error();
    if (!shown->ok())
        return Error{ErrorKind::unreachable, "sacctmgr: " + std::string{trim(shown->err)}, config.layout.log("slurmdbd"), ""};
    const std::string limit = config.spec.max_submit_jobs == 0 ? "" : std::to_string(config.spec.max_submit_jobs);
    return trim(shown->out) == std::string{sandbox_account} + "|" + limit;
}

} // namespace

Result<void> make_database(const SandboxConfig &config) {
    const auto folder = config.layout.file("database"), unfinished = folder + ".new";
    if (::access(folder.c_str(), F_OK) == 0)
        return {};
    std::error_code code;
    std::filesystem::remove_all(unfinished, code); // of one that was killed
    const auto made = run_command({.argv = {"mariadb-install-db", "--no-defaults", "--datadir=" + unfinished, "--skip-test-db",
                                            "--skip-name-resolve", "--auth-root-authentication-method=socket",
                                            "--auth-root-socket-user=" + config.user.name, "--user=" + config.user.name},
                                   .input = "",
                                   .environment = Environment{{"PATH", daemon_path}, {"HOME", config.layout.state}},
                                   .deadline = make_deadline});
    if (!made)
        return made.error();
    if (!made->ok())
        return Error{ErrorKind::io, "mariadb-install-db failed: " + std::string{trim(made->err + made->out)}, folder, ""};
    if (std::filesystem::rename(unfinished, folder, code); code)
        return errno_error(code.value(), "cannot rename", unfinished);
    return {};
}

Result<void> register_account(const SandboxConfig &config) {
    auto known = registered(config);
    if (!known)
        return known.error();
    if (*known)
        return {};
    const std::string account = sandbox_account, cluster = config.spec.name;
    const std::string limit = config.spec.max_submit_jobs == 0 ? "-1" : std::to_string(config.spec.max_submit_jobs);
    std::string said;
    // What is there already makes sacctmgr fail, and is fine: what counts is what it says in the end.
    for (const std::vector<std::string> &added :
         {std::vector<std::string>{"add", "cluster", cluster},
          {"add", "account", account, "cluster=" + cluster, "Description=sandbox", "Organization=sandbox", "MaxSubmitJobs=" + limit},
          {"add", "user", config.user.name, "cluster=" + cluster, "Account=" + account, "DefaultAccount=" + account}}) {
        const auto answer = sacctmgr(config, added);
        if (!answer)
            return answer.error();
        if (!answer->ok())
            said += " " + std::string{trim(answer->err + answer->out)};
    }
    known = registered(config);
    if (known && !*known)
        return Error{ErrorKind::io, "the account could not be registered:" + said, config.layout.log("slurmdbd"), ""};
    return known ? Result<void>{} : known.error();
}

} // namespace trainctl

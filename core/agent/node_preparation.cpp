#include "agent/node_preparation.h"

#include "agent/node_checks.h"
#include "agent/node_generation.h"
#include "agent/processes.h"
#include "base/text.h"

#include <fmt/format.h>
#include <utility>

namespace trainctl {

NodePreparation::NodePreparation(Loop &loop, LogWriter &logs, Setting setting, NodeConfig config)
    : loop_(loop), logs_(logs), setting_(std::move(setting)), config_(std::move(config)) {
    const auto check = check_node(config_);
    note_ = check.note;
    setting_.log(check.note);
    environment_ = without_launcher_variables(own_environment());
    if (!check.problem.empty())
        done({false, check.problem, {}}, true);
}

void NodePreparation::start() {
    if (state_ != SetupState::none)
        return;
    state_ = SetupState::running;
    config_.preflight ? look() : run_setup();
}

void NodePreparation::look() {
    PreflightSpec spec;
    spec.run_dir = config_.run_dir;
    spec.checkpoint_dir = config_.checkpoint_dir;
    spec.min_free_mib = config_.min_free_mib;
    spec.job_memory_mib = config_.memory_mib;
    spec.check = config_.check;
    spec.chips_per_node = config_.chips_per_node;
    spec.chip = config_.chip;
    const auto since = std::chrono::steady_clock::now() - made_; // that clock was read
    spec.head_clock_ms = config_.clock_ms + std::chrono::duration_cast<std::chrono::milliseconds>(since).count();
    spec.log_path = fmt::format("{}/setup/{}.log", config_.logs_dir, setting_.node);
    spec.environment = environment_;
    spec.directory = config_.work_dir;
    looked_ = spec;
    preflight_ = std::make_unique<NodePreflight>(loop_, logs_, NodePreflight::Setting{setting_.program, std::move(spec), [this](const PreflightResult &result) {
                                                                                          setting_.log("preflight: " + result.text);
                                                                                          result.ok ? run_setup() : done({false, result.text, {}}, result.by_node);
                                                                                      }});
    if (const auto started = preflight_->start(); !started)
        done({false, started.error().text(), {}}, true);
}

void NodePreparation::run_setup() {
    if (trim(config_.setup).empty())
        return done({true, "", environment_}, false);
    Environment base = environment_;
    base[mark_variable] = to_string(Mark{config_.run, config_.attempt, 0, setting_.node});
    base["TRAINCTL_RUN"] = config_.run;
    base["TRAINCTL_ATTEMPT"] = std::to_string(config_.attempt);
    base["TRAINCTL_JOB_ID"] = config_.job;
    base["TRAINCTL_NODE"] = setting_.node;
    setup_ = std::make_unique<NodeSetup>(
        loop_, logs_, NodeSetup::Setting{setting_.program, config_.setup, config_.work_dir,
                                         fmt::format("{}/setup/{}.log", config_.logs_dir, setting_.node), std::move(base),
                                         [this](const SetupResult &result) { done(result, false); }});
    if (const auto started = setup_->start(); !started)
        done({false, started.error().text(), {}}, false);
}

void NodePreparation::done(const SetupResult &result, bool bad_node) {
    state_ = result.ok ? SetupState::ok : SetupState::failed;
    text_ = result.text;
    bad_node_ = bad_node;
    if (result.ok)
        environment_ = result.environment;
    setting_.log(result.ok ? "setup is done" : (bad_node ? "this node is not fit: " : "setup failed: ") + result.text);
    setting_.on_change();
}

void NodePreparation::child_ended(pid_t pid, int status) {
    if (preflight_)
        preflight_->child_ended(pid, status);
    if (setup_)
        setup_->child_ended(pid, status);
}

void NodePreparation::kill() {
    if (preflight_)
        preflight_->kill();
    if (setup_)
        setup_->kill();
}

} // namespace trainctl

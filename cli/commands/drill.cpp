// trainctl drill: injects a real fault into a run, and tells what was seen of it and how long training stood still.
#include "command.h"
#include "note.h"
#include "run_argument.h"
#include "terminal.h"

#include "base/json.h"
#include "base/text.h"
#include "report/report.h"
#include "run/drill.h"
#include "sandbox/faults.h"

#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <optional>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration disk_hold = 20s; // the longest that a disk is full, seen or not: less than the usual lease

struct Options {
    RunArgument run;
    std::vector<std::string> kinds;
    std::optional<int> rank;
    std::string node;
    int timeout_s = 900;
    bool json = false, no_wait = false;
};

// One drill from its plan to its end.
class Drill {
public:
    Drill(ClusterLink &link, std::string run, const Options &options) : link_(link), run_(std::move(run)), options_(options) {}

    Result<Json> run() {
        auto kinds = drill_kinds(options_.kinds);
        if (!kinds)
            return kinds.error();
        kinds_ = *kinds;
        if (auto allowed = check_sandbox(); !allowed)
            return allowed.error();
        auto plan = call({{"do", "plan"}, {"kinds", options_.kinds}, {"rank", options_.rank ? Json(*options_.rank) : Json{}}, {"node", options_.node}});
        if (!plan)
            return plan.error();
        plan_ = std::move(*plan);
        if (auto done = hurt_disk(); !done)
            return done.error();
        // The head must have taken its part before the machine is hurt: then it has other things to do, or is dead.
        if (auto done = inject(); !done)
            return done.error();
        if (auto done = hurt_machine(); !done)
            return done.error();
        if (options_.no_wait && !disk_)
            return Json{{"format", 1}, {"run", plan_.value("run", run_)}, {"faults", plan_["faults"]}, {"done", done_}, {"over", nullptr}};
        return watch();
    }

private:
    bool has(DrillKind kind) const { return std::find(kinds_.begin(), kinds_.end(), kind) != kinds_.end(); }

    Result<void> check_sandbox() {
        const auto harmful = std::find_if(kinds_.begin(), kinds_.end(), [](DrillKind kind) { return traits(kind).sandbox_only; });
        if (harmful == kinds_.end())
            return {};
        auto sandbox = sandbox_of_profile(link_.profile());
        if (!sandbox)
            return sandbox.error();
        if (!*sandbox)
            return Error{ErrorKind::refused, fmt::format("{} hurts a node, and {} is no sandbox on this machine", to_string(*harmful), link_.where()), "",
                         "crash, hang, oom, time-limit and corrupt-checkpoint work on every cluster; trainctl sandbox up makes one for the rest"};
        sandbox_ = std::move(*sandbox);
        if (has(DrillKind::disk_full) && sandbox_->spec.disk_mib == 0)
            return Error{ErrorKind::refused, "the run root of this sandbox lies on the machine's own disk, which is not filled up", sandbox_->layout.root(),
                         "trainctl sandbox up --name NAME --disk 2G makes one with a disk of its own"};
        return {};
    }

    Result<Json> call(Json request, const std::function<bool(const Json &)> &on_message = {}) {
        request["verb"] = "drill";
        request["run"] = run_;
        for (const char *key : {"id", "attempt", "generation", "job"})
            if (plan_.contains(key))
                request[key] = plan_[key];
        return link_.call(std::move(request), on_message, std::chrono::seconds{options_.timeout_s} + 5min);
    }

    Result<void> hurt_disk() {
        if (!has(DrillKind::disk_full))
            return {};
        at_ms_ = wall_ms();
        auto disk = DiskFill::fill(*sandbox_);
        if (!disk)
            return disk.error();
        disk_.emplace(std::move(*disk));
        full_since_ = std::chrono::steady_clock::now();
        tell(disk_->text());
        return {};
    }

    // What is done to nodes and to the queue.
    Result<void> hurt_machine() {
        for (const auto &item : plan_["faults"]) {
            const auto fault = drill_fault_from(item);
            if (!fault)
                return fault.error();
            if (traits(fault->kind).actor != DrillActor::machine || fault->kind == DrillKind::disk_full)
                continue;
            at_ms_ = at_ms_ > 0 ? at_ms_ : wall_ms();
            const auto done = fault->kind == DrillKind::preempt ? preempt_job(*sandbox_, std::to_string(plan_.value("job", std::uint64_t{0})))
                                                                : lose_node(*sandbox_, fault->node);
            if (!done)
                return done.error();
            tell(*done);
        }
        return {};
    }

    Result<void> inject() {
        const bool any = std::any_of(kinds_.begin(), kinds_.end(), [](DrillKind kind) { return traits(kind).actor != DrillActor::machine; });
        if (!any)
            return {};
        auto done = call({{"do", "inject"}, {"faults", plan_["faults"]}, {"confirm", true}});
        if (!done)
            return done.error();
        if (const auto at = done->value("at_ms", Json{}); at.is_number() && at_ms_ == 0)
            at_ms_ = at.get<std::int64_t>();
        for (const auto &text : done->value("done", std::vector<std::string>{}))
            tell(text);
        return {};
    }

    Result<Json> watch() {
        auto story = call({{"do", "watch"}, {"faults", plan_["faults"]}, {"at_ms", at_ms_}, {"timeout_s", options_.timeout_s}}, [this](const Json &message) {
            if (message.contains("progress"))
                note("{}\n", message.value("progress", ""));
            const bool late = std::chrono::steady_clock::now() - full_since_ >= disk_hold;
            if (disk_ && disk_->held() && (late || message.value("seen", false))) {
                disk_->free();
                tell("the disk has room again");
            }
            return true;
        });
        if (!story)
            return story;
        for (const auto &text : story->value("done", std::vector<std::string>{}))
            done_.push_back(text);
        (*story)["done"] = done_;
        return story;
    }

    void tell(const std::string &text) {
        done_.push_back(text);
        note("{}\n", text);
    }

    static std::int64_t wall_ms() {
        return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
    }

    ClusterLink &link_;
    const std::string run_;
    const Options &options_;
    std::vector<DrillKind> kinds_;
    std::optional<SandboxConfig> sandbox_;
    std::optional<DiskFill> disk_;
    Instant full_since_;
    Json plan_ = Json::object();
    std::vector<std::string> done_;
    std::int64_t at_ms_ = 0;
};

int drill(const Options &options) {
    return with_run(options.run, [&](ClusterLink &link, const std::string &run) -> int {
        const auto story = Drill{link, run, options}.run();
        if (!story)
            return report_error(story.error());
        print(options.json ? dump_json(*story, 2) + "\n" : drill_text(*story));
        const Json ended = story->value("ended", Json{}); // not there without a wait
        if (ended.is_object() && ended.value("kind", "") == "failed")
            return exit_run_failed;
        return story->value("over", Json{}) == Json(false) && !ended.is_object() ? exit_failed : exit_ok;
    });
}

} // namespace

void add_drill(CLI::App &app, Invocation &invocation) {
    auto *command = app.add_subcommand("drill", "Inject a real fault into a running run, and tell what was seen and how long training stood still");
    const auto options = std::make_shared<Options>();
    command->add_option("RUN", options->run.run, "The run's id, or its beginning")->required();
    command->add_option("KIND", options->kinds, "One fault, or several at once")->required();
    command->add_option("--cluster", options->run.cluster, "The cluster of the run, where this machine did not submit it")->type_name("NAME");
    command->add_option("--rank", options->rank, "Which rank is hurt (default: the last one)");
    command->add_option("--node", options->node, "Which node is lost or cut off, or has that rank (default: the last one, not the head's)");
    command->add_option("--timeout", options->timeout_s, "Seconds to wait for its end (default: 900)")->check(CLI::Range(1, 86400));
    command->add_flag("--no-wait", options->no_wait, "Only inject it (a disk is full until its failure was seen, or for 20 s)");
    command->add_flag("--json", options->json, "Print JSON");
    std::string kinds;
    for (const auto kind : all_drill_kinds())
        kinds += fmt::format("  {:<20}{}{}\n", to_string(kind), traits(kind).what, traits(kind).sandbox_only ? " (sandbox only)" : "");
    command->footer("Kinds:\n" + kinds + "Times are those of the heads' clocks: a step is known when its head hears of it, at most half a second late.\n"
                    "Examples:\n  trainctl drill gpt-k3f9x crash\n  trainctl drill gpt-k3f9x node-loss crash --json");
    command->callback([&invocation, options] { invocation.action = [options] { return drill(*options); }; });
}

} // namespace trainctl

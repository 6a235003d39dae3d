// A desk with everything around it: real files in a folder of the test, a small Slurm, and what trainctl would send.
#pragma once

#include "desk/desk.h"
#include "script/render.h"
#include "support/faults.h"

#include <filesystem>
#include <functional>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace trainctl {

inline const std::string secret_value = "hunter2-and-more";

struct DeskRoom {
    explicit DeskRoom(const FakeSlurm::Settings &settings = own_settings()) : slurm(settings) {
        cluster.emplace_back();
        cluster[0].name = "main";
        cluster[0].state = "UP";
        cluster[0].is_default = true;
        cluster[0].total_nodes = 8;
    }

    static FakeSlurm::Settings own_settings() {
        FakeSlurm::Settings settings;
        settings.uid = ::getuid();
        return settings;
    }

    TempDir folder{memory_folder()};
    PosixFiles files;
    FakeSlurm slurm;
    const std::string root = folder.path() + "/root";
    std::string checkpoints = folder.path() + "/checkpoints"; // of the next submit_request()
    const RunPaths paths{root, RunId{"gpt-abcde"}};
    std::vector<Partition> cluster;
    std::optional<Error> no_partitions; // where Slurm does not say
    std::vector<Json> said;
    std::function<std::optional<Duration>(const std::string &)> age; // of files, where their file system tells

    Json submit_request(const std::string &run = "gpt-abcde") const {
        const auto yaml = "name: gpt\nresources:\n  nodes: 2\nenvironment:\n  secrets: [API_KEY]\nlaunch:\n  command: [python3, train.py]\ncheckpoint:\n  dir: " + checkpoints + "\n";
        return {{"verb", "submit"}, {"run", run}, {"experiment", yaml}, {"template", builtin_template("slurm")}, {"cluster", "fake"},
                {"environment", {{"FROM_PROFILE", "1"}}}, {"secrets", {{"API_KEY", secret_value}}}, {"git_diff", "K2EgbGluZf8K"},
                {"info", {{"name", "gpt"}, {"trainctl_version", "0"}, {"agent_hash", "0123456789abcdef0123"}}}};
    }
    Json request(const std::string &verb) const { return {{"verb", verb}, {"run", paths.run.value}, {"secrets", {{"API_KEY", secret_value}}}}; }

    // As a desk's process serves it: `desk` may die of its plan, and `meanwhile` happens whenever it sleeps.
    Result<Json> ask(Actor &desk, const Json &request, std::function<void()> meanwhile = {}) { return ask(desk, desk.files, request, std::move(meanwhile)); }
    Result<Json> ask(Actor &desk, Files &its_files, const Json &request, std::function<void()> meanwhile = {}) {
        struct SharedClock final : Clock {
            SharedClock(Clock &real, std::function<void()> action) : clock(real), meanwhile(std::move(action)) {}
            Clock &clock;
            std::function<void()> meanwhile;
            Instant now() override { return clock.now(); }
            WallTime wall() override { return clock.wall(); }
            void sleep_for(Duration duration) override {
                clock.sleep_for(duration);
                if (meanwhile)
                    meanwhile();
            }
        } clock{desk.clock, std::move(meanwhile)};
        DeskCall call{request, root, its_files, desk.scheduler, clock,
                      [this]() -> Result<std::vector<Partition>> { return no_partitions ? Result<std::vector<Partition>>{*no_partitions} : cluster; },
                      [this](const Json &message) { said.push_back(message); }, desk.world.who, {}, age};
        return serve_desk(call);
    }
    Result<Json> ask(const Json &request, std::function<void()> meanwhile = {}) {
        Actor desk{slurm, "desk"};
        return ask(desk, request, std::move(meanwhile));
    }
    Json answer(const Json &request, std::function<void()> meanwhile = {}) {
        auto result = ask(request, std::move(meanwhile));
        REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().text()));
        return *result;
    }

    Json answer(Actor &desk, Files &its_files, const Json &request) {
        auto result = ask(desk, its_files, request);
        REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().text()));
        return *result;
    }

    // A run whose first job trains.
    JobId train() {
        const JobId job{answer(submit_request()).at("job").get<std::uint64_t>()};
        slurm.advance(std::chrono::seconds{5});
        put(1, "claim", Claim{job, 0, "n1", "", 1});
        return job;
    }
    template <class T> void put(int no, const std::string &name, const T &record) {
        REQUIRE(write_record_file(files, paths.attempt_file(AttemptNo{no}, name), record));
    }
    void log(const std::string &name, const std::string &text) {
        const auto path = paths.attempts() + "/" + name;
        REQUIRE(files.make_dirs(parent_path(path)));
        REQUIRE(files.append(path, text));
    }
    std::optional<std::string> read(const std::string &path) { return files.read(path).value(); }
    std::optional<Ended> ended() { return read_record_file<Ended>(files, paths.file("ended.json")).value(); }

    // Facts in the desks' journals, as they were written: "verdict 1".
    std::vector<std::string> facts() {
        auto journal = read_run_journal(files, paths);
        CHECK(journal.problems.empty());
        std::stable_sort(journal.events.begin(), journal.events.end(), [](const Event &a, const Event &b) { return a.wall_ms < b.wall_ms; });
        std::vector<std::string> out;
        for (const auto &event : journal.events)
            out.push_back(event.name + " " + std::to_string(event.attempt));
        return out;
    }

    // Live jobs of all names.
    int live() const {
        int count = 0;
        for (const auto &[id, job] : slurm.jobs())
            count += job.phase == JobPhase::pending || job.phase == JobPhase::running ? 1 : 0;
        return count;
    }
    // Files that hold the secret, and files and folders that others could look into.
    std::vector<std::string> files_with_secret() { return find_paths([&](const auto &path) { return path.is_regular_file() && read(path.path())->find(secret_value) != std::string::npos; }); }
    std::vector<std::string> open_to_others() { return find_paths([](const auto &path) { return (path.status().permissions() & std::filesystem::perms{077}) != std::filesystem::perms::none; }); }

private:
    template <class Wanted> std::vector<std::string> find_paths(Wanted wanted) {
        std::vector<std::string> found;
        for (const auto &path : std::filesystem::recursive_directory_iterator(folder.path()))
            if (wanted(path))
                found.push_back(path.path());
        return found;
    }
};

} // namespace trainctl

// A folder for one test; removed afterwards, kept and named when the test failed.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <unistd.h>

namespace trainctl {

// Where syncing a file costs nothing, if this machine has such a place: for tests that make hundreds of runs.
inline std::filesystem::path memory_folder() {
    std::error_code none;
    return std::filesystem::is_directory("/dev/shm", none) && ::access("/dev/shm", W_OK) == 0 ? std::filesystem::path{"/dev/shm"}
                                                                                              : std::filesystem::temp_directory_path();
}

class TempDir {
public:
    explicit TempDir(const std::filesystem::path &where = std::filesystem::temp_directory_path()) {
        std::string pattern = (where / "trainctl-test-XXXXXX").string();
        REQUIRE(::mkdtemp(pattern.data()) != nullptr);
        path_ = pattern;
        failures_before_ = failures();
    }
    ~TempDir() {
        if (failures() > failures_before_)
            std::cerr << "kept for you: " << path_ << "\n";
        else
            std::filesystem::remove_all(path_, ignored_);
    }
    TempDir(const TempDir &) = delete;
    TempDir &operator=(const TempDir &) = delete;

    const std::string &path() const { return path_; }
    std::string operator/(const std::string &name) const { return path_ + "/" + name; }

private:
    static int failures() {
        const auto *state = doctest::getContextOptions();
        return state != nullptr && state->currentTest != nullptr && doctest_failed() ? 1 : 0;
    }
    // doctest has no public counter of a running test's failures; uncaught exceptions are what REQUIRE throws.
    static bool doctest_failed() { return std::uncaught_exceptions() > 0; }

    std::string path_;
    int failures_before_ = 0;
    std::error_code ignored_;
};

} // namespace trainctl

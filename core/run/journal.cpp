#include "run/journal.h"

#include "base/hash.h"

#include <limits>

namespace trainctl {

namespace {

constexpr std::size_t reserve_bytes = 64 * 1024; // hundreds of lines, and the records of an end
// What others say of an attempt they say when it is over: it comes after all that its own heads said.
constexpr int after_all_generations = std::numeric_limits<int>::max();

} // namespace

JournalWriter::JournalWriter(Files &files, Clock &clock, RunPaths paths, std::string writer, AttemptNo own)
    : files_(files), clock_(clock), paths_(std::move(paths)), writer_(std::move(writer)), own_(own) {}

Result<void> JournalWriter::keep_reserve() {
    return files_.write(paths_.reserve(), random_hex(reserve_bytes / 2)); // random: a file system may compress
}

void JournalWriter::generation(int number) {
    const std::lock_guard lock{mutex_};
    generation_ = number;
}

Result<void> JournalWriter::add(AttemptNo about, const std::string &event, Json data) {
    const std::lock_guard lock{mutex_};
    const Event fact{writer_, ++sequence_, about.value, about == own_ ? generation_ : after_all_generations,
                     std::chrono::duration_cast<std::chrono::milliseconds>(clock_.wall().time_since_epoch()).count(), event, std::move(data)};
    const std::string line = dump_json(to_json(fact)) + "\n";
    const auto path = paths_.journal(writer_);
    // What a write that failed left of a line must not swallow the next one.
    auto written = files_.append(path, torn_ ? "\n" + line : line);
    if (!written && written.error().kind == ErrorKind::no_space && files_.remove(paths_.reserve()))
        written = files_.append(path, "\n" + line);
    torn_ = !written;
    return written;
}

} // namespace trainctl

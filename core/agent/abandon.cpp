#include "agent/abandon.h"

#include "base/files.h"
#include "run/view.h"

#include <functional>

namespace trainctl {

std::optional<std::uint64_t> look_at_beat(const std::string &attempt_dir, const std::string &node) {
    PosixFiles files;
    // A change of our own makes an NFS client look at the folder anew.
    if (!files.write(join_path(attempt_dir, "watched-by." + node), "the head was not heard\n"))
        return std::nullopt;
    const auto outcome = files.read(join_path(attempt_dir, "outcome.json"));
    const auto beat = files.read(join_path(attempt_dir, "progress.json"));
    if (!outcome || *outcome || !beat || !*beat)
        return std::nullopt;
    return std::hash<std::string>{}(**beat);
}

Result<void> note_abandoned(const std::string &attempt_dir, const std::string &node, const std::string &why) {
    PosixFiles files;
    const Abandoned record{node, why, unix_seconds(std::chrono::system_clock::now())};
    // That another node was first is as good.
    const auto written = publish_record_file(files, join_path(attempt_dir, "abandoned.json"), record);
    return written ? Result<void>{} : Result<void>{written.error()};
}

} // namespace trainctl

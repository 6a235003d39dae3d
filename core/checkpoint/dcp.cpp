// torch.distributed.checkpoint: files __<rank>_<n>.distcp of saved items one after another, and .metadata, a pickle that says
// for each item its file, offset and length. pytorch/pytorch, torch/distributed/checkpoint/filesystem.py, since 2.0: _StorageInfo's
// relative_path, offset and length are in Metadata.storage_data; finish() writes .metadata.tmp after all ranks have answered, and
// renames it. An older .metadata lies there until then, so shards that are younger belong to a save that has not
// ended. Without collectives (dcp.save(use_collectives=False), since about 2.8) there is __<rank>.metadata of each rank, and nothing
// says how many.
#include "checkpoint/dcp_metadata.h"
#include "checkpoint/format.h"

#include "base/text.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

constexpr std::uint64_t max_metadata = 16ull << 30; // some 60 million items

bool is_of_one_rank(const std::string &name) { return name.starts_with("__") && name.ends_with(".metadata"); }

DcpPromise read_metadata(const CheckpointFacts &facts) {
    const auto size = facts.files.at(".metadata");
    if (size == 0 || size > max_metadata)
        return {{}, size == 0 ? ".metadata is empty" : fmt::format(".metadata is above {}", human_bytes(max_metadata))};
    return read_dcp_metadata([&](std::uint64_t offset, std::size_t length) { return facts.read(".metadata", offset, length); }, size);
}

} // namespace

bool is_dcp(const CheckpointFacts &facts) {
    if (facts.has(".metadata") || facts.has(".metadata.tmp"))
        return true;
    return std::any_of(facts.files.begin(), facts.files.end(), [](const auto &file) { return file.first.ends_with(".distcp"); });
}

std::string dcp_problem(const CheckpointFacts &facts) {
    if (facts.has(".metadata.tmp"))
        return "a save into it has not ended: .metadata.tmp is there";
    if (!facts.has(".metadata")) {
        const bool alone = std::any_of(facts.files.begin(), facts.files.end(), [](const auto &file) { return is_of_one_rank(file.first); });
        return alone ? "each rank saved its own .metadata, and nothing tells how many ranks there were: set checkpoint.marker with format: plain"
                     : ".metadata is missing, which is written last";
    }
    const auto promise = read_metadata(facts);
    if (!promise.problem.empty())
        return promise.problem;
    const auto written = facts.written.find(".metadata");
    for (const auto &[file, end] : promise.ends) {
        const auto found = facts.files.find(file);
        if (found == facts.files.end())
            return fmt::format("{} is missing (.metadata names it)", file);
        if (found->second == 0 || found->second < end)
            return fmt::format("{} has {} bytes, and .metadata has items up to {}", file, found->second, end);
        const auto when = facts.written.find(file);
        if (written != facts.written.end() && when != facts.written.end() && when->second - written->second > clocks_differ)
            return fmt::format("{} is younger than .metadata, as of a save into it that has not ended (touch .metadata where that is not so)", file);
    }
    return "";
}

} // namespace trainctl

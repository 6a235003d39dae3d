#include "checkpoint/facts.h"

#include <algorithm>

namespace trainctl {

bool Surroundings::has(const std::string &name) const { return std::binary_search(names.begin(), names.end(), name); }

bool CheckpointFacts::has_under(const std::string &beginning) const {
    const auto first = files.lower_bound(beginning);
    return first != files.end() && first->first.starts_with(beginning);
}

std::string CheckpointFacts::tracker(const std::string &file) const {
    if (!around)
        return "";
    const auto found = around->trackers.find(file);
    return found == around->trackers.end() ? "" : found->second;
}

CheckpointFacts facts_under(const CheckpointFacts &whole, const std::string &folder) {
    CheckpointFacts part;
    part.name = folder.substr(0, folder.size() - 1);
    for (auto file = whole.files.lower_bound(folder); file != whole.files.end() && file->first.starts_with(folder); ++file)
        part.files[file->first.substr(folder.size())] = file->second;
    for (auto file = whole.written.lower_bound(folder); file != whole.written.end() && file->first.starts_with(folder); ++file)
        part.written[file->first.substr(folder.size())] = file->second;
    part.read = [&whole, folder](const std::string &name, std::uint64_t offset, std::size_t length) {
        return whole.read(folder + name, offset, length);
    };
    return part;
}

} // namespace trainctl

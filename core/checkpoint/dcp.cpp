// torch.distributed.checkpoint: files __<rank>_<n>.distcp of saved items one after another, and .metadata, a pickle that says
// for each item its file, offset and length. torch/distributed/checkpoint/filesystem.py, 2.0 to 2.6: _StorageInfo's
// relative_path, offset and length are in Metadata.storage_data; finish() writes .metadata.tmp after all ranks have answered, and
// renames it. An older .metadata lies there until then, so shards that are younger belong to a save that has not ended.
#include "checkpoint/format.h"
#include "checkpoint/pickle.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t max_metadata = 64u << 20;
constexpr std::size_t window = 1u << 20; // of a larger one that is only searched for names
constexpr std::size_t longest_name = 64;
constexpr auto clocks_differ = 60s;      // of the nodes that write; a save over another comes later than that

struct Promise {
    std::map<std::string, std::uint64_t> ends; // file -> what its items need of it; 0: not known
    std::string problem;
};

// Metadata -> storage_data -> each entry's file, offset and length.
Promise promised_by(const Pickle &pickle) {
    Promise out;
    const auto storage = pickle.member(pickle.root(), "storage_data");
    if (!storage || pickle.kind(*storage) != Pickle::Kind::dict)
        return {{}, ".metadata does not say where its items are stored"};
    const auto &pairs = pickle.items(*storage);
    for (std::size_t i = 1; i < pairs.size(); i += 2) {
        const auto path = pickle.member(pairs[i], "relative_path"), offset = pickle.member(pairs[i], "offset"), length = pickle.member(pairs[i], "length");
        const auto file = path ? pickle.text(*path) : std::nullopt;
        const auto from = offset ? pickle.integer(*offset) : std::nullopt, bytes = length ? pickle.integer(*length) : std::nullopt;
        if (!file || file->empty() || !from || !bytes || *from < 0 || *bytes < 0 || *from > INT64_MAX - *bytes)
            return {{}, fmt::format(".metadata does not say where item {} is stored", i / 2)};
        auto &end = out.ends[std::string{*file}];
        end = std::max(end, static_cast<std::uint64_t>(*from + *bytes));
    }
    if (out.ends.empty())
        out.problem = ".metadata names no file";
    return out;
}

// Of one that is too large to be read as data: the files that it names, and that it has an end.
Promise named_in(const CheckpointFacts &facts, std::uint64_t size) {
    Promise out;
    std::string before, last;
    for (std::uint64_t at = 0; at < size; at += window) {
        const auto piece = facts.read(".metadata", at, window);
        if (piece.empty())
            return {{}, ".metadata can't be read to its end"};
        const std::string text = before + piece;
        for (auto dot = text.find(".distcp"); dot != std::string::npos; dot = text.find(".distcp", dot + 1)) {
            const auto from = text.rfind("__", dot);
            if (from != std::string::npos && dot - from < longest_name)
                out.ends[text.substr(from, dot + 7 - from)] = 0;
        }
        before = text.substr(text.size() - std::min(text.size(), longest_name));
        last = piece.substr(piece.size() - 1);
    }
    if (last != "." || out.ends.empty())
        out.problem = ".metadata is cut short";
    return out;
}

Promise read_metadata(const CheckpointFacts &facts) {
    const auto size = facts.files.at(".metadata");
    if (size > max_metadata)
        return named_in(facts, size);
    const auto text = whole_text(facts, ".metadata", max_metadata);
    if (!text.problem.empty())
        return {{}, text.problem};
    std::string problem;
    const auto pickle = Pickle::parse(text.text, problem);
    if (!pickle)
        return {{}, fmt::format(".metadata can't be read: {}", problem)};
    return promised_by(*pickle);
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
    if (!facts.has(".metadata"))
        return ".metadata is missing, which is written last";
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

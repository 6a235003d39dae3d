// Orbax (JAX): a step's folder is made under a name with ".orbax-checkpoint-tmp" and renamed when all is there; where the store
// can't rename it is made in place, and commit_success.txt comes last, in each item and in the step. google/orbax,
// checkpoint/orbax/checkpoint/_src/path/atomicity.py, AtomicRenameTemporaryPath and CommitFileTemporaryPath; _src/metadata/checkpoint.py,
// StepMetadata: _CHECKPOINT_METADATA is written twice, first with init_timestamp_nsecs and at the end of a save with the items and
// commit_timestamp_nsecs (so in 0.6 and later; 0.5 knows no times). Each tree has _METADATA, and since 0.11.9 array_metadatas/process_N of
// each process (_src/metadata/array_metadata_store.py).
// Arrays: google/tensorstore's OCDBT, manifest.ocdbt in each database and its nodes and values under d/, first in ocdbt.process_N/ for
// each process and then in one of all, or a folder each with .zarray or zarr.json. tensorstore/kvstore/ocdbt/index.rst: magic (big endian),
// length of the whole (little endian), and CRC-32C of the rest as the last four bytes.
// Which bytes of d/ are needed stands in nodes that are compressed: what is cut in there is not seen, but for an empty file.
#include "checkpoint/format.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

constexpr const char *about_file = "_CHECKPOINT_METADATA";
constexpr const char *manifest = "manifest.ocdbt";
constexpr const char *unfinished = ".orbax-checkpoint-tmp";
constexpr const char *committed = "commit_success.txt";
constexpr std::uint64_t max_manifest = 16u << 20;

// Reflected, of the polynomial 0x1EDC6F41 (RFC 3720, B.4).
std::uint32_t crc32c(std::string_view bytes) {
    std::uint32_t crc = 0xffffffff;
    for (const char byte : bytes) {
        crc ^= static_cast<unsigned char>(byte);
        for (int bit = 0; bit < 8; ++bit)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

std::uint64_t little(std::string_view bytes) {
    std::uint64_t value = 0;
    for (std::size_t i = bytes.size(); i-- > 0;)
        value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return value;
}

std::string manifest_problem(const CheckpointFacts &facts, const std::string &name) {
    const auto whole = whole_text(facts, name, max_manifest);
    if (!whole.problem.empty())
        return whole.problem;
    const std::string_view text = whole.text;
    if (text.size() < 18 || !text.starts_with("\x0c\xdb\x3a\x2a") || little(text.substr(4, 8)) != text.size() ||
        little(text.substr(text.size() - 4)) != crc32c(text.substr(0, text.size() - 4)))
        return fmt::format("{} is damaged or cut short", name);
    const auto folder = name.substr(0, name.size() - std::string_view{manifest}.size());
    return facts.has_under(folder + "d/") ? "" : fmt::format("{}d/ is missing ({} is an index of it)", folder, name);
}

bool holds_json(const std::string &name) {
    const auto slash = name.rfind('/');
    const auto base = slash == std::string::npos ? name : name.substr(slash + 1);
    return base == "_METADATA" || base == "_sharding" || base == about_file || base == ".zarray" || base == "zarr.json" || base == "metadata" ||
           name.find("array_metadatas/") != std::string::npos;
}

// "state/ocdbt.process_0/d/..." is of a database that has a manifest.
std::string database_problem(const CheckpointFacts &facts, const std::string &name) {
    const auto process = name.find("ocdbt.process_");
    const auto slash = process == std::string::npos ? process : name.find('/', process);
    if (slash == std::string::npos)
        return "";
    const auto needed = name.substr(0, slash + 1) + manifest;
    return facts.has(needed) ? "" : fmt::format("{} is missing", needed);
}

// "params/layer.kernel/c/0/0" is a part of an array of zarr 3, which says in its zarr.json what it is.
std::string array_problem(const CheckpointFacts &facts, const std::string &name) {
    const auto parts = name.find("/c/");
    const auto needed = parts == std::string::npos ? "" : name.substr(0, parts) + "/zarr.json";
    return needed.empty() || facts.has(needed) ? "" : fmt::format("{} is missing", needed);
}

std::string file_problem(const CheckpointFacts &facts, const std::string &name, std::uint64_t size) {
    if (name.find(unfinished) != std::string::npos)
        return fmt::format("{}: its save has not ended", name);
    if (size == 0)
        return fmt::format("{} is empty", name);
    for (auto *rule : {database_problem, array_problem})
        if (auto problem = rule(facts, name); !problem.empty())
            return problem;
    if (holds_json(name))
        return whole_json(facts, name).problem;
    return name == manifest || name.ends_with(std::string{"/"} + manifest) ? manifest_problem(facts, name) : "";
}

// Trees of arrays, by the handler that wrote them.
std::string item_problem(const CheckpointFacts &facts, const std::string &folder, const std::string &handler) {
    if (!folder.empty() && !facts.has_under(folder))
        return fmt::format("{} is missing ({} names it)", folder, about_file);
    if (handler.find("PyTree") == std::string::npos && handler.find("Standard") == std::string::npos)
        return "";
    if (!facts.has(folder + "_METADATA"))
        return fmt::format("{}_METADATA is missing", folder);
    if (const auto processes = numbered_files(facts, folder + "array_metadatas/process_", "", 1); !processes.gap.empty())
        return fmt::format("{} is missing", processes.gap);
    const bool databases = facts.has_under(folder + "ocdbt.process_") || facts.has_under(folder + "d/");
    return databases && !facts.has(folder + manifest) ? fmt::format("{}{} is missing", folder, manifest) : "";
}

// Where one item has its own mark the others have theirs, and the step has one when all have.
std::string commit_problem(const CheckpointFacts &facts, const Json &handlers) {
    bool any = false;
    for (const auto &[item, handler] : handlers.items())
        any = any || facts.has(item + "/" + committed);
    for (const auto &[item, handler] : handlers.items())
        if (any && !facts.has(item + "/" + committed))
            return fmt::format("{}/{} is missing", item, committed);
    return any && !facts.has(committed) ? fmt::format("{} is missing", committed) : "";
}

// Why the save has not ended, by the times of it.
std::string time_problem(const CheckpointFacts &facts, const Json &about) {
    const bool ended = about.value("commit_timestamp_nsecs", Json{}).is_number();
    const bool begun = about.contains("commit_timestamp_nsecs") || about.value("init_timestamp_nsecs", Json{}).is_number();
    return !ended && begun && !facts.has(committed) ? fmt::format("{} has no commit time: its save has not ended", about_file) : "";
}

} // namespace

bool is_orbax(const CheckpointFacts &facts) {
    if (!facts.folder)
        return false;
    return std::any_of(facts.files.begin(), facts.files.end(), [](const auto &file) {
        const auto &name = file.first;
        return name == about_file || name == "_METADATA" || name.ends_with("/_METADATA") || name.ends_with(manifest) || name == committed ||
               name.find(unfinished) != std::string::npos || name.find("ocdbt.process_") != std::string::npos;
    });
}

std::string orbax_problem(const CheckpointFacts &facts) {
    const auto about = whole_json(facts, about_file);
    if (!about.problem.empty())
        return about.problem;
    if (!about.object.is_object())
        return fmt::format("{} is no object", about_file);
    if (auto problem = time_problem(facts, about.object); !problem.empty())
        return problem;
    for (const auto &[name, size] : facts.files)
        if (auto problem = file_problem(facts, name, size); !problem.empty())
            return problem;
    const auto handlers = about.object.value("item_handlers", Json{});
    if (handlers.is_string())
        return item_problem(facts, "", handlers.get<std::string>());
    if (!handlers.is_object() || handlers.empty())
        return fmt::format("{} names no items", about_file);
    if (auto problem = commit_problem(facts, handlers); !problem.empty())
        return problem;
    for (const auto &[item, handler] : handlers.items())
        if (auto problem = item_problem(facts, item + "/", handler.is_string() ? handler.get<std::string>() : ""); !problem.empty())
            return problem;
    return "";
}

} // namespace trainctl

#include "base/files.h"
#include "base/hash.h"
#include "base/text.h"
#include "recovery/checkpoint.h"
#include "recovery/checkpoint_zip.h"
#include "recovery/verified_files.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

namespace trainctl {

namespace {

// A sharded checkpoint of 10,000 ranks has some 20,000 files; more is a wrong folder.
constexpr std::size_t max_files = 100'000;
constexpr int max_depth = 8;
constexpr std::size_t max_zips = 256; // each costs a few reads, on file systems where one takes milliseconds
constexpr std::uint64_t max_manifest = 16u << 20;
constexpr std::size_t piece = 1u << 20;

class OpenFile {
public:
    explicit OpenFile(const std::string &path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
    ~OpenFile() {
        if (fd_ >= 0)
            ::close(fd_);
    }
    OpenFile(const OpenFile &) = delete;
    OpenFile &operator=(const OpenFile &) = delete;
    bool ok() const { return fd_ >= 0; }
    std::optional<VerifiedFiles::Stamp> stamp() const {
        struct stat seen{};
        return ::fstat(fd_, &seen) == 0 ? std::optional{VerifiedFiles::stamp(seen)} : std::nullopt;
    }

    // Fills the buffer from `offset`; how many bytes, or -1 with errno.
    ssize_t read(char *to, std::size_t length, std::uint64_t offset) const {
        std::size_t done = 0;
        while (done < length) {
            const auto n = ::pread(fd_, to + done, length - done, static_cast<off_t>(offset + done));
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0)
                return -1;
            if (n == 0)
                break;
            done += static_cast<std::size_t>(n);
        }
        return static_cast<ssize_t>(done);
    }

private:
    int fd_;
};

WallTime wall_of(const timespec &time) {
    return WallTime{} + std::chrono::duration_cast<WallTime::duration>(std::chrono::seconds{time.tv_sec} +
                                                                      std::chrono::nanoseconds{time.tv_nsec});
}

// One checkpoint while it is looked at.
struct Look {
    std::string path;
    CheckpointFacts facts;
    CheckpointSeen seen;
    CheckpointVerdict verdict;
};

// Size and time of one file into the facts; a problem in words, or "".
std::string add_file(Look &look, const std::string &name, const struct stat &info) {
    if (!S_ISREG(info.st_mode))
        return fmt::format("{} is neither a file nor a folder", name);
    if (look.facts.files.size() >= max_files)
        return fmt::format("it has more than {} files", max_files);
    look.facts.files[name] = static_cast<std::uint64_t>(info.st_size);
    look.seen.bytes += static_cast<std::uint64_t>(info.st_size);
    look.seen.modified = std::max(look.seen.modified, wall_of(info.st_mtim));
    return "";
}

std::string add_folder(Look &look, const std::string &under, int depth) {
    if (depth > max_depth)
        return "its folders are nested too deep";
    const auto names = PosixFiles{}.list(under.empty() ? look.path : join_path(look.path, under));
    if (!names)
        return names.error().text();
    for (const auto &name : *names) {
        const std::string inside = join_path(under, name);
        const std::string full = join_path(look.path, inside);
        struct stat info {};
        if (::stat(full.c_str(), &info) != 0)
            return errno_error(errno, "cannot look at it", full).text();
        const auto problem = S_ISDIR(info.st_mode) ? add_folder(look, inside, depth + 1) : add_file(look, inside, info);
        if (!problem.empty())
            return problem;
    }
    return "";
}

// A checkpoint that is one file: it, and the marker and the manifest that may lie beside it.
std::string add_single(Look &look, const Checkpoint &spec, const struct stat &info) {
    if (auto problem = add_file(look, look.facts.name, info); !problem.empty())
        return problem;
    const auto bytes = look.seen.bytes;
    for (const auto &suffix : {spec.marker, spec.manifest, std::string{".done"}, std::string{".manifest"}}) {
        struct stat beside {};
        if (!suffix.empty() && ::stat((look.path + suffix).c_str(), &beside) == 0)
            if (auto problem = add_file(look, look.facts.name + suffix, beside); !problem.empty())
                return problem;
    }
    look.seen.bytes = bytes;
    return "";
}

std::string base_of(const Look &look) { return look.facts.folder ? look.path : parent_path(look.path); }

// A manifest beside a file may name others beside it; their sizes count too.
std::string read_manifest(Look &look) {
    if (!look.facts.files.contains(look.facts.manifest_name))
        return "";
    if (look.facts.files[look.facts.manifest_name] > max_manifest)
        return fmt::format("its manifest {} is above {}", look.facts.manifest_name, human_bytes(max_manifest));
    const auto content = PosixFiles{}.read(join_path(base_of(look), look.facts.manifest_name));
    if (!content)
        return content.error().text();
    look.facts.manifest = content->value_or("");
    const auto entries = parse_manifest(look.facts.manifest);
    if (!entries || look.facts.folder)
        return "";
    for (const auto &entry : *entries) {
        struct stat info {};
        if (!look.facts.files.contains(entry.name) && ::stat(join_path(base_of(look), entry.name).c_str(), &info) == 0)
            if (auto problem = add_file(look, entry.name, info); !problem.empty())
                return problem;
    }
    return "";
}

// Without a manifest, files that are zips are checked for their end: a marker can't tell that a file was cut.
std::string check_structure(Look &look) {
    std::size_t checked = 0;
    for (const auto &[name, size] : look.facts.files) {
        const std::string path = join_path(base_of(look), name);
        const OpenFile file{path};
        if (!file.ok())
            return errno_error(errno, "cannot read", path).text();
        const auto read = [&file](std::uint64_t offset, std::size_t length) {
            std::string bytes(length, '\0');
            const auto n = file.read(bytes.data(), length, offset);
            bytes.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
            return bytes;
        };
        if (!starts_with(read(0, 4), "PK\3\4"))
            continue;
        look.facts.zip = look.facts.zip || name == look.facts.name;
        if (const auto problem = zip_problem(read, size); !problem.empty())
            return fmt::format("{}: {}", name, problem);
        if (++checked == max_zips)
            break;
    }
    return "";
}

std::string gather(Look &look, const Checkpoint &spec) {
    struct stat info {};
    if (::stat(look.path.c_str(), &info) != 0)
        return errno_error(errno, "cannot look at it", look.path).text();
    look.facts.folder = S_ISDIR(info.st_mode);
    look.seen.modified = wall_of(info.st_mtim);
    auto problem = look.facts.folder ? add_folder(look, "", 1) : add_single(look, spec, info);
    if (!problem.empty())
        return problem;
    look.facts.manifest_name = manifest_of(spec, look.facts.name, look.facts.folder, look.facts.files);
    problem = read_manifest(look);
    if (problem.empty() && look.facts.manifest_name.empty())
        look.facts.structure_problem = check_structure(look);
    return problem;
}

Look look_at(const std::string &dir, const NamedStep &named, const Checkpoint &spec) {
    Look look;
    look.path = join_path(dir, named.name);
    look.facts.name = named.name;
    look.seen.path = look.path;
    look.seen.step = named.step;
    if (auto problem = gather(look, spec); !problem.empty())
        look.verdict = {false, problem, {}};
    else
        look.verdict = judge_checkpoint(spec, look.facts);
    look.seen.complete = look.verdict.complete;
    look.seen.why_not = look.verdict.why_not;
    return look;
}

// SHA-256 of a whole file in pieces.
Result<std::string> hash_content(const OpenFile &file, const std::string &path, const HashLimits &limits) {
    std::string buffer(piece, '\0');
    Sha256 hash;
    for (std::uint64_t offset = 0;;) {
        const auto n = file.read(buffer.data(), buffer.size(), offset);
        if (n < 0)
            return errno_error(errno, "cannot read", path);
        if (n == 0)
            return hash.hex();
        hash.add(std::string_view{buffer}.substr(0, static_cast<std::size_t>(n)));
        offset += static_cast<std::uint64_t>(n);
        if (limits.on_piece)
            limits.on_piece();
    }
}

// Of what was read before, or reads it; nothing where that would be more than `left`, from which it is taken.
Result<std::optional<std::string>> hash_file(const std::string &path, const HashLimits &limits, std::uint64_t &left) {
    const OpenFile file{path};
    const auto before = file.ok() ? file.stamp() : std::nullopt;
    if (!before)
        return errno_error(errno, "cannot read", path);
    if (limits.verified)
        if (auto known = limits.verified->hash_of(path, *before))
            return known;
    if (before->size > left)
        return std::optional<std::string>{};
    left -= before->size;
    const WallTime began = std::chrono::system_clock::now();
    auto hash = hash_content(file, path, limits);
    if (!hash)
        return hash.error();
    if (limits.verified && file.stamp() == before)
        limits.verified->keep(path, *before, *hash, began);
    return std::optional{*hash};
}

// Reads what would be taken; a problem in words, or "".
std::string read_content(const Look &look, const HashLimits &limits) {
    auto entries = look.verdict.to_hash;
    const auto size_of = [&look](const ManifestEntry &entry) { return look.facts.files.at(entry.name); };
    std::sort(entries.begin(), entries.end(), [&](const auto &a, const auto &b) { return size_of(a) < size_of(b); });
    std::uint64_t left = limits.max_bytes;
    for (const auto &entry : entries) {
        if (size_of(entry) > left && !limits.verified)
            return ""; // and so are all after it
        const auto hash = hash_file(join_path(base_of(look), entry.name), limits, left);
        if (!hash)
            return hash.error().text();
        if (*hash && **hash != entry.sha256)
            return fmt::format("the content of {} is not what {} promises", entry.name, look.facts.manifest_name);
    }
    return "";
}

void take_content(Look &look, const HashLimits &limits) {
    if (!look.seen.complete)
        return;
    look.seen.why_not = read_content(look, limits);
    look.seen.complete = look.seen.why_not.empty();
}

Result<std::vector<NamedStep>> named_steps(const std::string &dir, const Checkpoint &spec) {
    const auto names = PosixFiles{}.list(dir);
    if (!names)
        return names.error();
    return steps_of_names(spec.pattern, *names);
}

} // namespace

Result<std::vector<CheckpointSeen>> list_checkpoints(const std::string &dir, const Checkpoint &spec) {
    const auto steps = named_steps(dir, spec);
    if (!steps)
        return steps.error();
    std::vector<CheckpointSeen> seen;
    for (const auto &named : *steps)
        seen.push_back(look_at(dir, named, spec).seen);
    return seen;
}

void check_content(const std::string &dir, CheckpointSeen &seen, const Checkpoint &spec, const HashLimits &limits) {
    Look look = look_at(dir, {seen.step, base_name(seen.path)}, spec);
    take_content(look, limits);
    seen = look.seen;
}

Result<CheckpointChoice> newest_complete(const std::string &dir, const Checkpoint &spec, const HashLimits &limits) {
    const auto steps = named_steps(dir, spec);
    if (!steps)
        return steps.error();
    CheckpointChoice choice;
    for (auto named = steps->rbegin(); named != steps->rend(); ++named) {
        Look look = look_at(dir, *named, spec);
        take_content(look, limits);
        if (look.seen.complete) {
            choice.newest = std::move(look.seen);
            break;
        }
        choice.refused.push_back(std::move(look.seen));
    }
    return choice;
}

} // namespace trainctl

#include "base/files.h"
#include "base/hash.h"
#include "base/text.h"
#include "checkpoint/format.h"
#include "checkpoint/look.h"
#include "checkpoint/tracker.h"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <sys/stat.h>

namespace trainctl {

namespace {

// A sharded checkpoint of 10,000 ranks has some 20,000 files; more is a wrong folder.
constexpr std::size_t max_files = 100'000;
constexpr int max_depth = 8;
constexpr std::uint64_t max_manifest = 16u << 20;
constexpr std::size_t max_tracker = 4096; // a name or a number
constexpr const char *trackers[] = {deepspeed_tracker, megatron_tracker};

WallTime wall_of(const timespec &time) {
    return WallTime{} + std::chrono::duration_cast<WallTime::duration>(std::chrono::seconds{time.tv_sec} +
                                                                      std::chrono::nanoseconds{time.tv_nsec});
}

// Size and times of one file into the facts; a problem in words, or "".
std::string add_file(Look &look, const std::string &name, const struct stat &info) {
    if (!S_ISREG(info.st_mode))
        return fmt::format("{} is neither a file nor a folder", name);
    if (look.facts.files.size() >= max_files)
        return fmt::format("it has more than {} files", max_files);
    const auto stamp = VerifiedFiles::stamp(info);
    look.facts.files[name] = stamp.size;
    look.facts.written[name] = wall_of(info.st_mtim);
    look.seen.bytes += stamp.size;
    look.seen.modified = std::max(look.seen.modified, wall_of(info.st_mtim));
    look.changed = std::max(look.changed, wall_of(info.st_ctim));
    look.stamps += fmt::format("{} {} {} {} {} {}\n", stamp.device, stamp.inode, stamp.size, stamp.written_ns, stamp.changed_ns, name);
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

// A manifest beside a file may name others beside it; their sizes count too.
std::string read_manifest(Look &look) {
    if (!look.facts.files.contains(look.facts.manifest_name))
        return "";
    if (look.facts.files[look.facts.manifest_name] > max_manifest)
        return fmt::format("its manifest {} is above {}", look.facts.manifest_name, human_bytes(max_manifest));
    const auto content = PosixFiles{}.read(join_path(look.base(), look.facts.manifest_name));
    if (!content)
        return content.error().text();
    look.facts.manifest = content->value_or("");
    const auto entries = parse_manifest(look.facts.manifest);
    if (!entries || look.facts.folder)
        return "";
    for (const auto &entry : *entries) {
        struct stat info {};
        if (!look.facts.files.contains(entry.name) && ::stat(join_path(look.base(), entry.name).c_str(), &info) == 0)
            if (auto problem = add_file(look, entry.name, info); !problem.empty())
                return problem;
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
    return read_manifest(look);
}

// Pieces of the checkpoint's files. Keeps the last one open: a format reads one here and there, then the next.
class Pieces {
public:
    Pieces(std::string base, std::function<void()> on_piece) : base_(std::move(base)), on_piece_(std::move(on_piece)) {}

    std::string read(const std::string &name, std::uint64_t offset, std::size_t length) {
        if (!file_ || name != name_) {
            file_ = std::make_unique<OpenFile>(join_path(base_, name));
            name_ = name;
        }
        if (!file_->ok()) {
            fail(name);
            return "";
        }
        std::string out;
        while (out.size() < length) {
            const auto begin = out.size(), wanted = std::min(length - begin, read_piece);
            out.resize(begin + wanted);
            const auto n = file_->read(out.data() + begin, wanted, offset + begin);
            out.resize(begin + static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
            if (n < 0)
                fail(name);
            if (on_piece_)
                on_piece_();
            if (n < static_cast<ssize_t>(wanted))
                break;
        }
        return out;
    }
    const std::string &problem() const { return problem_; } // of the system, the first one

private:
    void fail(const std::string &name) {
        if (problem_.empty())
            problem_ = errno_error(errno, "cannot read", join_path(base_, name)).text();
    }

    std::string base_, name_, problem_;
    std::function<void()> on_piece_;
    std::unique_ptr<OpenFile> file_;
};

// Those whose step no name tells, by what is in them.
void add_unnumbered(const std::string &dir, const Checkpoint &spec, Listed &listed) {
    for (const auto &name : listed.around->names) {
        if (!step_is_inside(spec, name))
            continue;
        Look look;
        look.path = join_path(dir, name);
        look.facts.name = name;
        const auto pieces = std::make_shared<Pieces>(dir, nullptr);
        look.facts.read = [pieces](const std::string &file, std::uint64_t offset, std::size_t length) { return pieces->read(file, offset, length); };
        if (gather(look, spec).empty())
            listed.steps.push_back({step_inside(look.facts).value_or(unknown_step), name});
        else
            listed.steps.push_back({unknown_step, name});
    }
    // Where steps are equal the name with the step is taken: the other is written over by each save.
    std::stable_sort(listed.steps.begin(), listed.steps.end(), [&](const NamedStep &a, const NamedStep &b) {
        return std::tuple{a.step, !step_is_inside(spec, a.name), a.name} < std::tuple{b.step, !step_is_inside(spec, b.name), b.name};
    });
}

// What a * of a pattern fits all the same: what is hidden, as a removal's leftovers are, what was put aside by roll_back(), and
// by the formats' own patterns what frameworks call unfinished.
bool is_no_checkpoint(const Checkpoint &spec, std::string_view name) {
    if (is_put_aside(name) || (name.starts_with('.') && !spec.pattern.starts_with('.')))
        return true;
    return spec.pattern.empty() && (name.ends_with("-unfinished") || name.ends_with(".tmp") || name.ends_with(".partial"));
}

void take_content(Look &look, const HashLimits &limits) {
    if (!look.seen.complete)
        return;
    look.seen.why_not = read_content(look, limits);
    look.seen.complete = look.seen.why_not.empty();
}

} // namespace

std::string Look::base() const { return facts.folder ? path : parent_path(path); }

Result<Listed> list_names(const std::string &dir, const Checkpoint &spec) {
    auto names = PosixFiles{}.list(dir);
    if (!names)
        return names.error();
    auto around = std::make_shared<Surroundings>();
    around->names = std::move(*names);
    for (const auto *tracker : trackers) {
        if (!around->has(tracker))
            continue;
        if (const auto content = read_at_most(join_path(dir, tracker), max_tracker); content && *content)
            around->trackers[tracker] = **content;
        struct stat info {};
        if (::stat(join_path(dir, tracker).c_str(), &info) == 0)
            around->written[tracker] = wall_of(info.st_mtim);
    }
    Listed listed{steps_of_names(patterns_of(spec), around->names), around};
    std::erase_if(listed.steps, [&](const NamedStep &one) { return is_no_checkpoint(spec, one.name); });
    for (const auto &one : listed.steps)
        around->steps[one.name] = one.step;
    add_unnumbered(dir, spec, listed);
    return listed;
}

Look look_at(const std::string &dir, const NamedStep &named, const Checkpoint &spec, const Listed &listed,
             const HashLimits &limits, bool again) {
    Look look;
    look.path = join_path(dir, named.name);
    look.facts.name = named.name;
    look.facts.around = listed.around;
    look.seen.path = look.path;
    look.seen.step = named.step;
    const WallTime began = std::chrono::system_clock::now();
    if (auto problem = gather(look, spec); !problem.empty()) {
        look.verdict = {.complete = false, .why_not = problem};
    } else {
        const auto pieces = std::make_shared<Pieces>(look.base(), limits.on_piece);
        look.facts.read = [pieces](const std::string &file, std::uint64_t offset, std::size_t length) { return pieces->read(file, offset, length); };
        const bool remember = again && limits.verified && look.facts.manifest_name.empty();
        for (const auto *tracker : trackers) // what lies beside it speaks of it, too
            look.stamps += look.facts.tracker(tracker) + "\n";
        look.stamps += is_unfinished(look.facts) ? "unfinished" : "";
        const auto stamps = remember ? sha256_hex(look.stamps) : "";
        if (const auto known = remember ? limits.verified->format_of(look.path, stamps) : std::nullopt) {
            look.verdict = {.complete = true, .why_not = "", .to_hash = {}, .format = *known};
        } else {
            look.verdict = judge(spec, look.facts);
            if (!look.verdict.complete && !pieces->problem().empty())
                look.verdict.why_not = pieces->problem();
            if (look.verdict.complete && remember)
                limits.verified->keep_whole(look.path, {stamps, look.verdict.format}, look.changed, began);
        }
    }
    look.seen.complete = look.verdict.complete;
    look.seen.why_not = look.verdict.why_not;
    look.seen.format = format_name(look.verdict.format);
    look.seen.removable = look.verdict.recognized && !step_is_inside(spec, named.name);
    return look;
}

Result<std::vector<CheckpointSeen>> list_checkpoints(const std::string &dir, const Checkpoint &spec, const HashLimits &limits) {
    const auto listed = list_names(dir, spec);
    if (!listed)
        return listed.error();
    std::vector<CheckpointSeen> seen;
    const auto &steps = listed->steps;
    for (auto named = steps.end() - static_cast<std::ptrdiff_t>(std::min(limits.most, steps.size())); named != steps.end(); ++named)
        seen.push_back(look_at(dir, *named, spec, *listed, limits, true).seen);
    return seen;
}

void check_content(const std::string &dir, CheckpointSeen &seen, const Checkpoint &spec, const HashLimits &limits) {
    const auto listed = list_names(dir, spec);
    Look look = look_at(dir, {seen.step, base_name(seen.path)}, spec, listed ? *listed : Listed{{}, std::make_shared<Surroundings>()}, limits, false);
    take_content(look, limits);
    seen = look.seen;
}

Result<CheckpointChoice> newest_complete(const std::string &dir, const Checkpoint &spec, const HashLimits &limits) {
    const auto listed = list_names(dir, spec);
    if (!listed)
        return listed.error();
    CheckpointChoice choice;
    for (auto named = listed->steps.rbegin(); named != listed->steps.rend(); ++named) {
        Look look = look_at(dir, *named, spec, *listed, limits, limits.max_bytes == 0);
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

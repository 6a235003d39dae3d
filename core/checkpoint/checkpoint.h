// Which checkpoint a run may go on from: names to steps, and for each one whether it is complete, with the
// reason where it is not. The verdict is pure over facts; list_checkpoints() and newest_complete() read the disk.
// A checkpoint that was cut short, at whatever byte, is never taken: doubt is a refusal, with a reason.
#pragma once

#include "base/result.h"
#include "checkpoint/facts.h"

#include <string_view>

namespace trainctl {

class VerifiedFiles;

constexpr std::string_view set_aside = ".rolled-back"; // behind the name of one that roll_back() put aside
constexpr std::int64_t unknown_step = -1; // of one whose name has none, where nothing in it can be read

struct CheckpointSeen {
    std::string path;
    std::int64_t step = 0;
    std::uint64_t bytes = 0;  // of all its files
    WallTime modified{};      // of whatever in it was written last
    bool complete = false;    // by names and sizes; newest_complete() also by content
    std::string why_not;      // for people; empty where complete
    std::string format;       // by whose rules it was judged: "megatron"
    bool removable = true;    // false: nothing in it is of the format, or each save writes it anew (last.ckpt)
};

// ---- Pure -------------------------------------------------------------------------------------------------

// The step in a name: what {step} of the pattern stands for, 1 to 18 digits, zeros in front allowed, everything
// else equal. So "step-7.tmp" is no "step-{step}". A * stands for any text, and a name that fits in two ways has no step.
std::optional<std::int64_t> step_of_name(std::string_view pattern, std::string_view name);

// "step-7.rolled-back", "step-7.rolled-back.2": put aside by roll_back().
bool is_put_aside(std::string_view name);

struct NamedStep {
    std::int64_t step = 0;
    std::string name;
    auto operator<=>(const NamedStep &) const = default;
};
// Those names that match, oldest first; equal steps ("7" and "007") by name.
std::vector<NamedStep> steps_of_names(const std::string &pattern, const std::vector<std::string> &names);
// By the first of several patterns that a name fits.
std::vector<NamedStep> steps_of_names(const std::vector<std::string> &patterns, const std::vector<std::string> &names);

// Errors: invalid, for an empty manifest, a torn last line, a line of another form, a name that leaves the
// checkpoint or comes twice.
Result<std::vector<ManifestEntry>> parse_manifest(std::string_view text);

// The rules of plain checkpoints. With `marker` and `manifest` both set, both must hold. With neither: a file MANIFEST or
// COMPLETE in the folder (beside a file: <file>.manifest or <file>.done) counts; a single zip file as torch.save writes
// it is judged by its own structure; all else is refused. Every file must be named in the manifest (hidden ones aside):
// else one cut between two lines would pass.
CheckpointVerdict judge_checkpoint(const Checkpoint &spec, const CheckpointFacts &facts);

// The name of the manifest that counts among `files`, or "".
std::string manifest_of(const Checkpoint &spec, const std::string &name, bool folder,
                        const std::map<std::string, std::uint64_t> &files);

// Old ones to delete so that the `keep` newest complete ones stay (0: keeps all). Never the newest complete, nor
// anything newer than it (it may be being saved), nor what is `in_use` or not removable, which is not counted either; of
// the incomplete ones only those older than all that stay.
std::vector<std::string> checkpoints_to_remove(const std::vector<CheckpointSeen> &seen, int keep,
                                               const std::vector<std::string> &in_use);

// ---- Reading the disk -------------------------------------------------------------------------------------

struct HashLimits {
    // More than this is not read before training goes on: about 10 s. Smallest files first; the rest by size only.
    std::uint64_t max_bytes = 4ull << 30;
    std::function<void()> on_piece = {}; // called after each read, of a MiB at most, so that a head can beat meanwhile
    std::shared_ptr<VerifiedFiles> verified = nullptr; // what was read before is not read again, and what is read is kept
    std::size_t most = SIZE_MAX;         // of a list: the newest so many
};

// All of `dir`, oldest first, judged by names, sizes and what formats have to say of them. No such folder: none. One that
// can't be read is refused with the system's words; errors are those of `dir` itself. `limits`: not max_bytes.
Result<std::vector<CheckpointSeen>> list_checkpoints(const std::string &dir, const Checkpoint &spec, const HashLimits &limits = {});

// Reads the content of one that is complete by sizes; says no where it is not what its manifest promises.
void check_content(const std::string &dir, CheckpointSeen &seen, const Checkpoint &spec, const HashLimits &limits);

struct CheckpointChoice {
    std::optional<CheckpointSeen> newest;  // the newest complete one
    std::vector<CheckpointSeen> refused;   // newer ones, newest first: say them to the user
};
// Looks from the newest down and no further than needed; content is hashed only of what would be taken.
Result<CheckpointChoice> newest_complete(const std::string &dir, const Checkpoint &spec, const HashLimits &limits = {});

} // namespace trainctl

// Saves of all formats, made once by make_saves.py, and held in memory: to be cut, emptied and judged without a disk.
#pragma once

#include "base/files.h"
#include "base/process.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/format.h"
#include "support/temp_dir.h"

#include <algorithm>
#include <doctest/doctest.h>
#include <fstream>
#include <iterator>

namespace trainctl {

// What a folder of checkpoints holds: path -> content.
class SavedFolder {
public:
    using Files = std::map<std::string, std::string>;
    Files files;

    CheckpointFacts facts(const std::string &name) const {
        CheckpointFacts facts;
        facts.name = name;
        facts.folder = !files.contains(name);
        auto around = std::make_shared<Surroundings>();
        for (const auto &[path, content] : files) {
            const auto top = path.substr(0, path.find('/'));
            if (around->names.empty() || around->names.back() != top)
                around->names.push_back(top);
            if (top == path)
                around->trackers[path] = content;
            if (path == name || (facts.folder && path.starts_with(name + "/")))
                facts.files[facts.folder ? path.substr(name.size() + 1) : path] = content.size();
        }
        std::sort(around->names.begin(), around->names.end());
        for (const auto &one : steps_of_names(patterns_of({}), around->names))
            around->steps[one.name] = one.step;
        facts.around = around;
        facts.read = [this, prefix = facts.folder ? name + "/" : ""](const std::string &file, std::uint64_t offset, std::size_t length) {
            const auto &content = files.at(prefix + file);
            return offset < content.size() ? content.substr(offset, length) : "";
        };
        return facts;
    }
    CheckpointVerdict judged(CheckpointFormat format, const std::string &name) const {
        Checkpoint spec;
        spec.format = format;
        auto known = facts(name);
        return judge(spec, known);
    }
};

struct Saves {
    std::map<std::string, SavedFolder> folders;
    std::string made_with; // "torch 1.13.0", or "no torch"

    Saves() {
        const TempDir dir{memory_folder()};
        // Debian's own has its packages, torch maybe, whatever other Python comes first in PATH.
        for (const std::string python : {"/usr/bin/python3", "python3"}) {
            const auto result = run_command({.argv = {python, TRAINCTL_SOURCE_DIR "/tests/unit/checkpoint/make_saves.py", dir.path()}, .input = ""});
            if (result && result->ok()) {
                made_with = result->out;
                break;
            }
        }
        REQUIRE_MESSAGE(!made_with.empty(), "no Python could make the saves");
        for (const auto &entry : std::filesystem::recursive_directory_iterator{dir.path()})
            if (entry.is_regular_file()) {
                const auto path = entry.path().string().substr(dir.path().size() + 1);
                const auto slash = path.find('/');
                std::ifstream in{entry.path(), std::ios::binary};
                folders[path.substr(0, slash)].files[path.substr(slash + 1)] = {std::istreambuf_iterator<char>{in}, {}};
            }
    }
    const SavedFolder &folder(const std::string &name) const { return folders.at(name); }
};

// One set for all tests of a process.
inline const Saves &saves() {
    static const Saves all;
    return all;
}

struct SavedFormat {
    std::string folder;
    CheckpointFormat format;
    std::string name;
    bool by_auto = true; // told without being named
};
inline const std::vector<SavedFormat> &saved_formats() {
    using F = CheckpointFormat;
    static const std::vector<SavedFormat> all = {
        {"torch", F::torch, "step-7.pt"},
        {"lightning", F::lightning, "epoch=1-step=7.ckpt"},
        {"lightning-last", F::lightning, "last.ckpt"},
        {"lightning-fsdp", F::lightning, "epoch=1-step=7.ckpt"},
        {"dcp", F::dcp, "step-7"},
        {"safetensors-file", F::safetensors, "step-7.safetensors"},
        {"safetensors", F::safetensors, "step-7", false},
        {"huggingface", F::huggingface, "checkpoint-7"},
        {"huggingface-fsdp", F::huggingface, "checkpoint-7"},
        {"huggingface-deepspeed", F::huggingface, "checkpoint-7"},
        {"deepspeed-0", F::deepspeed, "global_step7"},
        {"deepspeed-2", F::deepspeed, "global_step7"},
        {"deepspeed-3", F::deepspeed, "global_step7"},
        {"deepspeed-experts", F::deepspeed, "global_step7"},
        {"deepspeed-experts-zero", F::deepspeed, "global_step7"},
        {"megatron", F::megatron, "iter_0000007"},
        {"megatron-dist", F::megatron, "iter_0000007"},
        {"megatron-dcp", F::megatron, "iter_0000007"},
        {"nemo", F::nemo, "gpt--val_loss=1.00-step=7-consumed_samples=70.0-last"},
        {"nemo-file", F::nemo, "gpt-step=7.nemo"},
        {"orbax", F::orbax, "7"},
        {"orbax-processes", F::orbax, "7"},
        {"orbax-committed", F::orbax, "7"},
    };
    return all;
}

} // namespace trainctl

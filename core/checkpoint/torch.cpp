// A single file of torch.save: a zip of data.pkl and one member for each storage, its directory last.
// torch/serialization.py and caffe2/serialize/inline_container.cc, since 1.6; before, or with
// _use_new_zipfile_serialization=False, a row of pickles that begins with a magic number and whose end nothing tells.
#include "checkpoint/format.h"
#include "checkpoint/torch_pickle.h"
#include "checkpoint/zip.h"

#include <fmt/format.h>

namespace trainctl {

namespace {

// PROTO 2 and the integer 0x1950a86a20f9469cfc6c, MAGIC_NUMBER of torch/serialization.py.
constexpr std::string_view old_magic{"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 14};
// What Lightning writes beside the tensors: a few MB at most.
constexpr std::uint64_t max_pickle = 64u << 20;

} // namespace

std::string torch_file_problem(const CheckpointFacts &facts, const std::string &name) {
    const auto file = facts.files.find(name);
    if (file == facts.files.end())
        return fmt::format("{} is missing", name);
    if (file->second == 0)
        return fmt::format("{} is empty", name);
    const auto read = [&](std::uint64_t offset, std::size_t length) { return facts.read(name, offset, length); };
    const auto head = read(0, old_magic.size());
    if (head.starts_with("PK\3\4")) {
        const auto problem = zip_problem(read, file->second);
        return problem.empty() ? "" : fmt::format("{}: {}", name, problem);
    }
    if (head == old_magic)
        return fmt::format("{} was saved in torch's old format, whose end can't be told: set checkpoint.marker or checkpoint.manifest with format: plain", name);
    return fmt::format("{} is not a zip file as torch.save writes it", name);
}

bool is_torch(const CheckpointFacts &facts) {
    if (facts.folder)
        return false;
    const auto head = facts.read(facts.name, 0, old_magic.size());
    return head.starts_with("PK\3\4") || head == old_magic || facts.name.ends_with(".pt") || facts.name.ends_with(".pth");
}

std::string torch_problem(const CheckpointFacts &facts) { return torch_file_problem(facts, facts.name); }

TorchPickle torch_pickle(const CheckpointFacts &facts, const std::string &name) {
    TorchPickle out;
    const auto file = facts.files.find(name);
    if (file == facts.files.end())
        return out;
    const auto read = [&](std::uint64_t offset, std::size_t length) { return facts.read(name, offset, length); };
    const auto member = zip_member(read, file->second, "/data.pkl");
    if (!member || member->size > max_pickle)
        return out;
    out.bytes = std::make_unique<std::string>(read(member->offset, static_cast<std::size_t>(member->size)));
    std::string problem;
    out.pickle = Pickle::parse(*out.bytes, problem);
    return out;
}

} // namespace trainctl

// What torch.save wrote beside the tensors, as data.
#pragma once

#include "checkpoint/facts.h"
#include "checkpoint/pickle.h"

namespace trainctl {

struct TorchPickle {
    std::unique_ptr<std::string> bytes; // that the pickle points into
    std::optional<Pickle> pickle;       // nothing where the file is no whole zip of torch.save or its pickle is too large
};
TorchPickle torch_pickle(const CheckpointFacts &facts, const std::string &name);

} // namespace trainctl

// What torch.distributed.checkpoint's .metadata says of its files. It may have gigabytes for many ranks: it is read once from
// its begin to its end, and only the names of files are kept.
#pragma once

#include "checkpoint/facts.h"

namespace trainctl {

struct DcpPromise {
    std::map<std::string, std::uint64_t> ends; // file -> what its items need of it
    std::string problem;                       // why it can't be relied on; "" where it can
};

// A pickle of protocol 2 or newer; nothing in it is made or called. Where an item is stored is an object with the attributes
// relative_path, offset and length, in this order (_StorageInfo). Pure but for the reader.
DcpPromise read_dcp_metadata(const ReadAt &read, std::uint64_t size);

} // namespace trainctl

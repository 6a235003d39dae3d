// A snapshot as one tar stream, and back. The stream has the same bytes for the same code: sorted, no times, no owners,
// no directories (GNU format). It is made here and not by tar, so that each content is hashed once more while it is sent.
#pragma once

#include "base/result.h"
#include "snapshot/snapshot.h"

#include <memory>
#include <string>

namespace trainctl {

class ArchiveStream {
public:
    explicit ArchiveStream(FileList list);
    ~ArchiveStream();
    ArchiveStream(ArchiveStream &&) noexcept;
    ArchiveStream &operator=(ArchiveStream &&) noexcept;

    // The next piece, some hundred KB; empty at the end. Error io: a file is not any more what was listed, so what was
    // sent up to here must be thrown away; every later call says so again.
    Result<std::string> next_piece();

private:
    struct State;
    std::unique_ptr<State> state_;
};

// How many bytes the stream will have. Pure.
std::uint64_t archive_bytes(const FileList &list);

// Unpacks into `folder`, which has all of it or does not exist: tar works in `folder`.partial.<random>, renamed at the end.
// Before that what was unpacked is read again and must have `hash` (FileList::hash): tar accepts archives cut short.
// True where this made it, false where it was there already (not looked into). Files get the present time, our owner
// and our umask. Errors: not_found (no tar, no archive), no_space, invalid (a damaged archive), io, timeout.
Result<bool> unpack_archive(const std::string &archive, const std::string &folder, const std::string &hash);

} // namespace trainctl

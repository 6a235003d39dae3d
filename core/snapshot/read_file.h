// Reading files piece by piece, links not followed, and noticing that somebody changes them meanwhile.
#pragma once

#include "base/result.h"

#include <cstdint>
#include <string>

namespace trainctl {

class FileReader {
public:
    // Error denied, not_found, io: with the path. A link, fifo, ... in the file's place is an error as well.
    static Result<FileReader> open(const std::string &path);
    FileReader(FileReader &&other) noexcept;
    FileReader &operator=(FileReader &&other) noexcept;
    ~FileReader();

    std::uint64_t size() const { return size_; } // when it was opened
    bool executable() const { return executable_; }
    // Adds up to `most` bytes to `into`, and says how many; 0: the end.
    Result<std::size_t> read(std::string &into, std::size_t most);

private:
    FileReader() = default;
    std::string path_;
    int fd_ = -1;
    std::uint64_t size_ = 0;
    bool executable_ = false;
};

struct HashedFile {
    std::uint64_t size = 0;
    std::string sha256;
};

// Error io when the file has another length than when it was opened.
Result<HashedFile> hash_file(const std::string &path);
Result<std::string> read_link(const std::string &path);

// "the file changed while it was read", and what to do.
Error changed_error(const std::string &path);

} // namespace trainctl

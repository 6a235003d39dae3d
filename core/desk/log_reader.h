// What is new in log files that grow and are rotated (n1.log becomes n1.log.1, that n1.log.2): a place is an inode and an
// offset, so a file is read to its end under whatever name it has by then. Reads the disk, and remembers its places.
#pragma once

#include "base/fd.h"
#include "base/result.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace trainctl {

class LogReader {
public:
    struct Place {
        std::uint64_t inode = 0; // 0: before all that there is
        std::int64_t offset = 0;
    };
    struct Piece {
        std::string text; // whole lines, or a part of a very long one; empty: nothing new
        Place place;      // behind it
    };

    explicit LogReader(std::string folder) : folder_(std::move(folder)) {}

    // Files are named relative to the folder, as the newest of them is.
    Result<Piece> next(const std::string &file);
    void go_to(const std::string &file, Place place) { places_[file] = place; }
    // Goes to `lines` lines before the end, unless the file has a place.
    Result<void> skip_to_tail(const std::string &file, std::int64_t lines);
    const std::map<std::string, Place> &places() const { return places_; }

private:
    struct Part {
        Fd fd;
        std::uint64_t inode = 0;
        std::int64_t size = 0;
    };
    Result<std::vector<Part>> open_parts(const std::string &file, std::uint64_t oldest) const;

    std::string folder_;
    std::map<std::string, Place> places_;
};

} // namespace trainctl

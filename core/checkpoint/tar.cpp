#include "checkpoint/tar.h"

#include "base/files.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

constexpr std::uint64_t block = 512, record = 20 * block;
constexpr std::size_t max_members = 100'000;

// Octal text, or with the first bit set a number of the other bytes, the highest first.
std::optional<std::uint64_t> number(std::string_view field) {
    std::uint64_t value = 0;
    if ((static_cast<unsigned char>(field[0]) & 0x80) != 0) {
        for (std::size_t i = 1; i < field.size(); ++i) {
            if (value >> 55 != 0)
                return std::nullopt;
            value = value << 8 | static_cast<unsigned char>(field[i]);
        }
        return value;
    }
    bool any = false;
    for (const char c : field) {
        if (c >= '0' && c <= '7') {
            value = value * 8 + static_cast<std::uint64_t>(c - '0');
            any = true;
        } else if (c != ' ' && c != '\0') {
            return std::nullopt;
        } else if (any) {
            break;
        }
    }
    return any ? std::optional{value} : std::nullopt;
}

bool sound(const std::string &header) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < block; ++i)
        sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(header[i]);
    return number(std::string_view{header}.substr(148, 8)) == sum;
}

} // namespace

std::string tar_problem(const ReadAt &read, std::uint64_t size, const std::vector<std::string> &needed) {
    if (read(0, 2) == "\x1f\x8b")
        return "it is compressed, and can't be looked into: set checkpoint.marker with format: plain";
    std::vector<bool> found(needed.size());
    std::uint64_t at = 0;
    for (std::size_t members = 0; members < max_members; ++members) {
        const auto header = read(at, block);
        if (header.size() < block)
            return "it is cut short: no end of the tar";
        if (std::all_of(header.begin(), header.end(), [](char c) { return c == '\0'; })) {
            const auto end = (at + 2 * block + record - 1) / record * record;
            if (size != end)
                return fmt::format("it is cut short: {} bytes and not {}", size, end);
            for (std::size_t i = 0; i < needed.size(); ++i)
                if (!found[i])
                    return fmt::format("{} is missing in it", needed[i]);
            return "";
        }
        const auto length = sound(header) ? number(std::string_view{header}.substr(124, 12)) : std::nullopt;
        if (!length || *length > size)
            return fmt::format("it is no whole tar: a damaged header at byte {}", at);
        const std::string path = header.substr(0, std::min<std::size_t>(header.find('\0'), 100));
        // A folder's own entry has a name that ends with '/'.
        const auto name = base_name(path.ends_with('/') ? path.substr(0, path.size() - 1) : path);
        for (std::size_t i = 0; i < needed.size(); ++i)
            found[i] = found[i] || (name.starts_with(needed[i]) && (*length > 0 || path.ends_with('/')));
        at += block + (*length + block - 1) / block * block;
    }
    return fmt::format("it has more than {} members", max_members);
}

} // namespace trainctl

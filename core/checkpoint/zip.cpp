#include "checkpoint/zip.h"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <string_view>
#include <vector>

namespace trainctl {

namespace {

constexpr std::size_t end_size = 22, end64_size = 56, locator_size = 20, member_size = 46, local_size = 30;
constexpr std::size_t max_comment = 65535;
// A directory entry takes about 100 bytes: room for 600,000 tensors.
constexpr std::uint64_t max_directory = 64u << 20;

std::uint64_t number(std::string_view bytes, std::size_t at, std::size_t width) {
    std::uint64_t value = 0;
    for (std::size_t i = width; i-- > 0;)
        value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
    return value;
}

struct Directory {
    std::uint64_t entries = 0, size = 0, offset = 0;
    std::uint64_t end = 0; // where the first record after it begins
};

// The end record whose comment reaches exactly to the end of the file.
std::optional<Directory> find_end(std::string_view tail, std::uint64_t file_size) {
    for (std::size_t at = tail.size() - end_size + 1; at-- > 0;) {
        if (number(tail, at, 4) != 0x06054b50 || at + end_size + number(tail, at + 20, 2) != tail.size())
            continue;
        return Directory{number(tail, at + 10, 2), number(tail, at + 12, 4), number(tail, at + 16, 4),
                         file_size - tail.size() + at};
    }
    return std::nullopt;
}

// The 64-bit figures take over where there are some.
std::string widen(const ReadAt &read, Directory &directory) {
    if (directory.end < locator_size)
        return "";
    const std::string locator = read(directory.end - locator_size, locator_size);
    if (locator.size() < locator_size || number(locator, 0, 4) != 0x07064b50)
        return "";
    const std::uint64_t at = number(locator, 8, 8);
    if (at > directory.end - locator_size)
        return "its zip64 end record lies outside the file";
    const std::string record = read(at, end64_size);
    if (record.size() < end64_size || number(record, 0, 4) != 0x06064b50)
        return "its zip64 end record can't be read";
    directory = Directory{number(record, 32, 8), number(record, 40, 8), number(record, 48, 8), at};
    return "";
}

// Compressed size and offset of a member, from the zip64 extra field where the short ones are full.
bool widen_member(std::string_view extra, bool wide_plain, std::uint64_t &packed, std::uint64_t &offset) {
    for (std::size_t at = 0; at + 4 <= extra.size();) {
        const std::size_t length = number(extra, at + 2, 2);
        if (at + 4 + length > extra.size())
            return false;
        if (number(extra, at, 2) == 1) {
            std::size_t field = at + 4 + (wide_plain ? 8 : 0);
            for (std::uint64_t *value : {&packed, &offset}) {
                if (*value != 0xffffffff)
                    continue;
                if (field + 8 > at + 4 + length)
                    return false;
                *value = number(extra, field, 8);
                field += 8;
            }
            return true;
        }
        at += 4 + length;
    }
    return packed != 0xffffffff && offset != 0xffffffff;
}

struct Member {
    std::string_view name;
    std::uint64_t packed = 0, offset = 0;
    bool stored = false; // as it is, without compression
};

std::string check_members(std::string_view entries, const Directory &directory, std::vector<Member> *members) {
    std::uint64_t count = 0;
    bool from_start = false;
    while (!entries.empty()) {
        if (entries.size() < member_size || number(entries, 0, 4) != 0x02014b50)
            return "its zip directory is damaged";
        const std::size_t name = number(entries, 28, 2), extra = number(entries, 30, 2), comment = number(entries, 32, 2);
        Member member{entries.substr(member_size, name), number(entries, 20, 4), number(entries, 42, 4), number(entries, 10, 2) == 0};
        if (entries.size() < member_size + name + extra + comment ||
            !widen_member(entries.substr(member_size + name, extra), number(entries, 24, 4) == 0xffffffff, member.packed, member.offset))
            return "its zip directory is damaged";
        if (member.offset > directory.offset || member.packed > directory.offset - member.offset ||
            local_size + name > directory.offset - member.offset - member.packed)
            return fmt::format("its member {} lies outside the file", member.name);
        from_start = from_start || member.offset == 0;
        ++count;
        if (members)
            members->push_back(member);
        entries.remove_prefix(member_size + name + extra + comment);
    }
    if (count != directory.entries || !from_start)
        return "its zip directory does not fit the file";
    return "";
}

// What is wrong, or "". `members` point into `entries`.
std::string read_directory(const ReadAt &read, std::uint64_t size, std::string &entries, std::vector<Member> *members) {
    const std::string head = read(0, 4);
    if (head.size() < 4 || number(head, 0, 4) != 0x04034b50)
        return "it is not a zip file as torch.save writes it";
    const auto tail_size = static_cast<std::size_t>(std::min<std::uint64_t>(size, end_size + max_comment));
    const std::string tail = read(size - tail_size, tail_size);
    if (tail_size < end_size || tail.size() != tail_size)
        return "it is cut short: no zip end record";
    auto directory = find_end(tail, size);
    if (!directory)
        return "it is cut short: no zip end record";
    if (auto problem = widen(read, *directory); !problem.empty())
        return problem;
    if (directory->entries == 0 || directory->size > max_directory || directory->offset > directory->end ||
        directory->size != directory->end - directory->offset)
        return "its zip directory does not fit the file";
    entries = read(directory->offset, static_cast<std::size_t>(directory->size));
    if (entries.size() != directory->size)
        return "its zip directory can't be read";
    return check_members(entries, *directory, members);
}

} // namespace

std::string zip_problem(const ReadAt &read, std::uint64_t size) {
    std::string entries;
    return read_directory(read, size, entries, nullptr);
}

std::optional<ZipMember> zip_member(const ReadAt &read, std::uint64_t size, std::string_view name_end) {
    std::string entries;
    std::vector<Member> members;
    if (!read_directory(read, size, entries, &members).empty())
        return std::nullopt;
    std::optional<ZipMember> found;
    for (const auto &member : members) {
        if (!member.name.ends_with(name_end))
            continue;
        const std::string local = read(member.offset, local_size);
        if (found || !member.stored || local.size() < local_size)
            return std::nullopt;
        found = ZipMember{member.offset + local_size + number(local, 26, 2) + number(local, 28, 2), member.packed};
    }
    return found;
}

} // namespace trainctl

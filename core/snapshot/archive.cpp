#include "snapshot/archive.h"

#include "base/files.h"
#include "base/hash.h"
#include "snapshot/read_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

namespace trainctl {

namespace {

constexpr std::size_t piece_bytes = 256u << 10;
constexpr std::size_t block = 512;              // of tar
constexpr std::size_t end_bytes = 2 * block;    // two empty blocks end an archive
constexpr std::size_t longest_short_name = 99;  // 100 bytes with the NUL
constexpr std::uint64_t largest_octal = 077777777777; // 11 digits

std::size_t padding(std::uint64_t size) { return static_cast<std::size_t>((block - size % block) % block); }

// Where each field of a tar header begins, and how long it is.
struct Field {
    std::size_t at, length;
};
constexpr Field name_field{0, 100}, mode_field{100, 8}, uid_field{108, 8}, gid_field{116, 8}, size_field{124, 12},
    mtime_field{136, 12}, checksum_field{148, 8}, link_field{157, 100}, magic_field{257, 8};
constexpr std::size_t type_at = 156;

using Header = std::array<char, block>;

void put_text(Header &header, Field field, const std::string &text) {
    std::memcpy(header.data() + field.at, text.data(), std::min(field.length, text.size()));
}

void put_octal(Header &header, Field field, std::uint64_t value) {
    for (std::size_t i = field.length - 1; i-- > 0; value >>= 3)
        header[field.at + i] = static_cast<char>('0' + (value & 7));
}

void put_size(Header &header, std::uint64_t size) {
    if (size <= largest_octal)
        return put_octal(header, size_field, size);
    // GNU: the first bit set, then the number in big-endian binary.
    for (std::size_t i = size_field.length; i-- > 0; size >>= 8)
        header[size_field.at + i] = static_cast<char>(size & 0xff);
    header[size_field.at] = static_cast<char>(0x80);
}

std::string header_block(char type, const std::string &name, const std::string &link, std::uint64_t size, unsigned mode) {
    Header header{};
    put_text(header, name_field, name.substr(0, longest_short_name));
    put_text(header, link_field, link.substr(0, longest_short_name));
    put_octal(header, mode_field, mode);
    put_octal(header, uid_field, 0);
    put_octal(header, gid_field, 0);
    put_octal(header, mtime_field, 0);
    put_size(header, size);
    header[type_at] = type;
    put_text(header, magic_field, std::string{"ustar  "});
    put_text(header, checksum_field, "        ");
    std::uint64_t sum = 0;
    for (const char c : header)
        sum += static_cast<unsigned char>(c);
    put_octal(header, {checksum_field.at, checksum_field.length - 1}, sum);
    header[checksum_field.at + 6] = '\0';
    return {header.data(), header.size()};
}

// A name too long for the header comes before it as the content of an entry of its own.
std::string long_name(char type, const std::string &name) {
    if (name.size() <= longest_short_name)
        return {};
    const std::uint64_t size = name.size() + 1;
    return header_block(type, "././@LongLink", "", size, 0644) + name + std::string(1 + padding(size), '\0');
}

std::string entry_head(const CodeFile &file) {
    return long_name('K', file.target) + long_name('L', file.path) +
           (file.is_link ? header_block('2', file.path, file.target, 0, 0777)
                         : header_block('0', file.path, "", file.size, file.executable ? 0755 : 0644));
}

} // namespace

struct ArchiveStream::State {
    FileList list;
    std::size_t next = 0; // file to begin
    bool ended = false;
    std::optional<Error> failed;

    // The file in hand.
    std::optional<FileReader> reader;
    Sha256 hash;
    std::uint64_t left = 0;

    std::string place(std::size_t index) const { return join_path(list.folder, list.files[index].path); }

    Result<void> begin(std::string &out) {
        const CodeFile &file = list.files[next];
        if (file.is_link) {
            const auto target = read_link(place(next));
            if (!target)
                return target.error();
            if (*target != file.target)
                return changed_error(place(next));
            out += entry_head(file);
            ++next;
            return {};
        }
        auto opened = FileReader::open(place(next));
        if (!opened)
            return opened.error();
        if (opened->size() != file.size || opened->executable() != file.executable)
            return changed_error(place(next));
        out += entry_head(file);
        reader = std::move(*opened);
        hash = Sha256{};
        left = file.size;
        return {};
    }

    Result<void> go_on(std::string &out) {
        const std::size_t before = out.size();
        // One byte more than there should be: a file that grew shows here.
        const auto got = reader->read(out, static_cast<std::size_t>(std::min<std::uint64_t>(piece_bytes, left + 1)));
        if (!got)
            return got.error();
        hash.add(std::string_view{out}.substr(before));
        const bool at_end = *got == 0;
        if (*got > left || (at_end && left > 0))
            return changed_error(place(next));
        left -= *got;
        if (!at_end)
            return {};
        const CodeFile &file = list.files[next];
        if (hash.hex() != file.sha256)
            return changed_error(place(next));
        out.append(padding(file.size), '\0');
        reader.reset();
        ++next;
        return {};
    }

    Result<void> step(std::string &out) {
        if (reader)
            return go_on(out);
        if (next < list.files.size())
            return begin(out);
        out.append(end_bytes, '\0');
        ended = true;
        return {};
    }
};

ArchiveStream::ArchiveStream(FileList list) : state_(std::make_unique<State>()) { state_->list = std::move(list); }
ArchiveStream::~ArchiveStream() = default;
ArchiveStream::ArchiveStream(ArchiveStream &&) noexcept = default;
ArchiveStream &ArchiveStream::operator=(ArchiveStream &&) noexcept = default;

Result<std::string> ArchiveStream::next_piece() {
    std::string out;
    while (!state_->failed && !state_->ended && out.size() < piece_bytes)
        if (auto done = state_->step(out); !done)
            state_->failed = done.error();
    if (state_->failed)
        return *state_->failed;
    return out;
}

std::uint64_t archive_bytes(const FileList &list) {
    std::uint64_t total = end_bytes;
    for (const auto &file : list.files)
        total += entry_head(file).size() + (file.is_link ? 0 : file.size + padding(file.size));
    return total;
}

} // namespace trainctl

#include "agent/progress_file.h"

#include "base/files.h"
#include "base/json.h"
#include "base/text.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr std::size_t read_bytes = 1u << 16;       // of one poll: hundreds of lines, and only the newest matter
constexpr std::size_t max_line_bytes_read = 8192;  // such a line has four short values
constexpr std::size_t remembered_bytes = 256;      // before our place, to see that a file was written anew
constexpr off_t give_back_each = 1 << 20;          // of a file in memory, which is the job's own
constexpr off_t page = 4096;
constexpr std::size_t most_activity_bytes = 64;

std::vector<std::string> places(const Environment &environment) {
    const auto given = environment.find("TMPDIR");
    std::vector<std::string> out{"/dev/shm"};
    if (given != environment.end() && starts_with(given->second, "/"))
        out.push_back(given->second);
    out.emplace_back("/tmp");
    return out;
}

std::string own_prefix() { return "trainctl-" + std::to_string(::geteuid()) + "-"; }

bool is_number(const std::string &text) { return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos; }

// Only what is ours, and never through a link: /dev/shm and /tmp are everybody's.
Result<void> remove_flat_folder(const std::string &folder) {
    struct stat seen{};
    if (::lstat(folder.c_str(), &seen) != 0)
        return {};
    if (!S_ISDIR(seen.st_mode) || seen.st_uid != ::geteuid())
        return Error{ErrorKind::denied, "is in the way and not ours", folder, ""};
    const std::unique_ptr<DIR, int (*)(DIR *)> entries{::opendir(folder.c_str()), &::closedir};
    while (const auto *entry = entries ? ::readdir(entries.get()) : nullptr)
        ::unlink((folder + "/" + entry->d_name).c_str());
    return ::rmdir(folder.c_str()) == 0 ? Result<void>{} : errno_error(errno, "cannot remove", folder);
}

// Python's json writes NaN and Infinity, which are no JSON: a loss that went wrong is no reason to lose the step.
std::string without_odd_numbers(std::string_view line) {
    std::string out;
    bool quoted = false;
    for (std::size_t at = 0; at < line.size();) {
        const auto rest = line.substr(at);
        std::string_view found;
        for (const std::string_view word : {"-Infinity", "Infinity", "NaN"})
            if (!quoted && starts_with(rest, word))
                found = word;
        if (!found.empty()) {
            out += "null";
            at += found.size();
            continue;
        }
        if (rest[0] == '\\' && quoted && rest.size() > 1) {
            out.append(rest.substr(0, 2));
            at += 2;
            continue;
        }
        quoted = quoted != (rest[0] == '"');
        out += rest[0];
        ++at;
    }
    return out;
}

// An object's line, whole or not at all: a torn one lacks its last brace.
std::optional<Json> object_of(std::string_view line) {
    for (const auto &text : {std::string{line}, without_odd_numbers(line)}) {
        auto json = parse_json(text, "progress");
        if (json && json->is_object())
            return *std::move(json);
    }
    return std::nullopt;
}

std::optional<std::int64_t> step_of(const Json &value) {
    if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX))
        return std::nullopt;
    if (value.is_number_integer())
        return value.get<std::int64_t>();
    if (!value.is_number_float())
        return std::nullopt;
    const double number = value.get<double>();
    return std::abs(number) < 9e15 && std::floor(number) == number ? std::optional{static_cast<std::int64_t>(number)} : std::nullopt;
}

void take_number(const Json &object, const char *key, std::optional<double> &into) {
    const auto found = object.find(key);
    if (found == object.end())
        return;
    into.reset(); // null, NaN: what was before is no longer true
    if (found->is_number() && std::isfinite(found->get<double>()))
        into = found->get<double>();
}

std::string activity_of(const Json &object) {
    const auto found = object.find("activity");
    if (found == object.end() || !found->is_string())
        return "";
    std::string out = found->get<std::string>();
    std::replace_if(out.begin(), out.end(), [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 127; }, ' ');
    return valid_utf8(trim(std::string_view{out}.substr(0, most_activity_bytes)));
}

} // namespace

Result<std::string> make_progress_folder(const std::string &name, const Environment &environment) {
    Error last{ErrorKind::io, "no place for progress files", "", ""};
    for (const std::string &place : places(environment)) {
        const std::string folder = place + "/" + own_prefix() + name;
        if (const auto removed = remove_flat_folder(folder); !removed)
            last = removed.error();
        else if (::mkdir(folder.c_str(), 0700) == 0)
            return folder;
        else
            last = errno_error(errno, "cannot make a folder for progress files", folder);
    }
    return last;
}

void remove_progress_folders(const std::string &run, const std::string &node, const Environment &environment) {
    const std::string begin = own_prefix() + run + "-", end = "-" + node;
    for (const std::string &place : places(environment)) {
        const auto names = PosixFiles{}.list(place);
        for (const auto &name : names ? *names : std::vector<std::string>{}) {
            if (!starts_with(name, begin) || !ends_with(name, end) || name.size() < begin.size() + end.size())
                continue;
            // Another run's id may begin with ours.
            const auto numbers = split(std::string_view{name}.substr(begin.size(), name.size() - begin.size() - end.size()), '-');
            if (numbers.size() == 2 && is_number(numbers[0]) && is_number(numbers[1]))
                remove_progress_folder(join_path(place, name));
        }
    }
}

std::string progress_path(const std::string &folder, int rank) { return join_path(folder, "rank" + std::to_string(rank) + ".jsonl"); }

void remove_progress_folder(const std::string &folder) { static_cast<void>(remove_flat_folder(folder).ok()); }

std::optional<ProgressLine> ProgressFileReader::poll() {
    any_ = false;
    struct stat named{};
    const bool there = ::stat(path_.c_str(), &named) == 0;
    if (file_ && there && (named.st_dev != device_ || named.st_ino != inode_)) {
        read_more(); // the end of the one that was replaced
        file_.close();
    }
    if (!file_ && there && S_ISREG(named.st_mode) && open())
        start_over();
    if (file_)
        read_more();
    return any_ ? std::optional{newest_} : std::nullopt;
}

bool ProgressFileReader::open() {
    // Not blocking: by now it may be a pipe. To be written where that is allowed, for give_back().
    file_ = Fd{::open(path_.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)};
    if (!file_)
        file_ = Fd{::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)};
    struct stat seen{};
    if (!file_ || ::fstat(file_.get(), &seen) != 0 || !S_ISREG(seen.st_mode)) {
        file_.close();
        return false;
    }
    device_ = seen.st_dev;
    inode_ = seen.st_ino;
    return true;
}

void ProgressFileReader::start_over() {
    offset_ = given_back_ = 0;
    partial_.clear();
    before_.clear();
    skip_line_ = partial_taken_ = false;
}

void ProgressFileReader::read_more() {
    struct stat seen{};
    if (::fstat(file_.get(), &seen) != 0)
        return;
    const bool same = seen.st_size == offset_ && seen.st_mtim.tv_sec == changed_.tv_sec && seen.st_mtim.tv_nsec == changed_.tv_nsec;
    if (same)
        return;
    changed_ = seen.st_mtim;
    if (seen.st_size < offset_ || rewritten())
        start_over();
    if (seen.st_size - offset_ > static_cast<off_t>(read_bytes)) {
        offset_ = seen.st_size - static_cast<off_t>(read_bytes);
        partial_.clear();
        partial_taken_ = false;
        skip_line_ = true;
    }
    std::array<char, read_bytes> buffer;
    const auto n = ::pread(file_.get(), buffer.data(), buffer.size(), offset_);
    if (n <= 0)
        return;
    const std::string_view data{buffer.data(), static_cast<std::size_t>(n)};
    offset_ += n;
    before_.append(data.substr(data.size() - std::min(data.size(), remembered_bytes)));
    before_.erase(0, before_.size() - std::min(before_.size(), remembered_bytes));
    add(data);
    give_back();
}

// A training that writes its file anew each time: what stood before our place is something else now.
bool ProgressFileReader::rewritten() const {
    std::string now(before_.size(), '\0');
    const auto n = ::pread(file_.get(), now.data(), now.size(), offset_ - static_cast<off_t>(before_.size()));
    return n != static_cast<ssize_t>(before_.size()) || now != before_;
}

void ProgressFileReader::add(std::string_view data) {
    while (!data.empty()) {
        const auto end = data.find('\n');
        const auto piece = data.substr(0, end);
        if (!skip_line_ && partial_.size() + piece.size() > max_line_bytes_read) {
            skip_line_ = true;
            ++bad_lines_;
        }
        if (!skip_line_)
            partial_.append(piece);
        if (end == std::string_view::npos)
            break;
        if (!skip_line_ && !partial_taken_)
            take(partial_);
        partial_.clear();
        skip_line_ = partial_taken_ = false;
        data.remove_prefix(end + 1);
    }
    // A last line without its newline is whole if it is an object: some never write one.
    if (!partial_.empty() && !partial_taken_ && !skip_line_ && trim(partial_).back() == '}' && object_of(partial_)) {
        take(partial_);
        partial_taken_ = true;
    }
}

void ProgressFileReader::take(std::string_view line) {
    const auto text = trim(line);
    if (text.empty())
        return;
    const auto object = object_of(text);
    if (!object) {
        ++bad_lines_;
        return;
    }
    if (const auto step = object->find("step"); step != object->end())
        if (const auto number = step_of(*step))
            newest_.step = number;
    take_number(*object, "loss", newest_.loss);
    take_number(*object, "rate", newest_.rate);
    newest_.activity = activity_of(*object);
    any_ = true;
}

// A file in memory that only grows would eat the job's own. A hole leaves every offset as it was, so a writer notices
// nothing, whether it appends or keeps its place.
void ProgressFileReader::give_back() {
    const off_t end = (offset_ - static_cast<off_t>(remembered_bytes)) / page * page;
    if (end - given_back_ < give_back_each)
        return;
    static_cast<void>(::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, given_back_, end - given_back_));
    given_back_ = end;
    struct stat seen{};
    if (::fstat(file_.get(), &seen) == 0 && seen.st_size == offset_)
        changed_ = seen.st_mtim; // by the hole
}

} // namespace trainctl

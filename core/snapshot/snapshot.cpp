#include "snapshot/snapshot.h"

#include "base/files.h"
#include "base/hash.h"
#include "base/text.h"
#include "snapshot/candidates.h"
#include "snapshot/exclude.h"
#include "snapshot/read_file.h"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <sys/stat.h>
#include <utility>

namespace trainctl {

namespace {

constexpr std::uint64_t large_code_bytes = 100'000'000; // code is rarely more; sending it takes seconds
constexpr std::size_t biggest_shown = 5;
constexpr std::size_t skipped_shown = 5;

bool inside_git(const std::string &path) {
    const auto parts = split(path, '/');
    return std::find(parts.begin(), parts.end(), ".git") != parts.end();
}

// Sorted, once each, and nothing that is reached through a link: git still lists a file whose directory became a link.
class Collector {
public:
    explicit Collector(std::string folder) : folder_(std::move(folder)) {}

    Result<void> add(const std::string &path) {
        if (!link_.empty() && starts_with(path, link_))
            return {};
        const std::string place = join_path(folder_, path);
        struct stat info {};
        if (::lstat(place.c_str(), &info) != 0) {
            if (errno == ENOENT || errno == ENOTDIR)
                return {}; // deleted, and git still knows it
            return errno_error(errno, "can't read the file", printable(place));
        }
        if (!S_ISLNK(info.st_mode) && !S_ISREG(info.st_mode)) {
            skipped_.push_back(printable(path));
            return {};
        }
        CodeFile file;
        file.path = path;
        if (S_ISLNK(info.st_mode)) {
            auto target = read_link(place);
            if (!target)
                return target.error();
            file.is_link = true;
            file.target = std::move(*target);
            file.size = file.target.size();
            file.sha256 = sha256_hex(file.target);
            link_ = path + "/";
        } else {
            auto content = hash_file(place);
            if (!content)
                return content.error();
            file.executable = (info.st_mode & 0111) != 0;
            file.size = content->size;
            file.sha256 = std::move(content->sha256);
        }
        files_.push_back(std::move(file));
        return {};
    }

    std::vector<CodeFile> take() { return std::move(files_); }

    void warn(std::vector<std::string> &warnings) const {
        if (skipped_.empty())
            return;
        std::vector<std::string> shown{skipped_.begin(),
                                       skipped_.begin() + static_cast<std::ptrdiff_t>(std::min(skipped_.size(), skipped_shown))};
        warnings.push_back(fmt::format("not sent, as neither files nor links: {}{}", join(shown, ", "),
                                       skipped_.size() > shown.size() ? ", ..." : ""));
    }

private:
    std::string folder_;
    std::string link_; // the newest link's path and a slash: what it hides comes right behind it
    std::vector<CodeFile> files_;
    std::vector<std::string> skipped_;
};

// A path sorts as if it ended with a slash, so that what lies below a link or a directory follows it at once.
bool tree_order(const std::string &a, const std::string &b) {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
        const auto rank = [](char c) { return c == '/' ? 0 : static_cast<unsigned char>(c) + 1; };
        return rank(x) < rank(y);
    });
}

void warn_when_large(FileList &list) {
    if (list.total_bytes <= large_code_bytes)
        return;
    std::vector<const CodeFile *> biggest;
    for (const auto &file : list.files)
        biggest.push_back(&file);
    const auto shown = std::min(biggest_shown, biggest.size());
    std::partial_sort(biggest.begin(), biggest.begin() + static_cast<std::ptrdiff_t>(shown), biggest.end(),
                      [](const auto *a, const auto *b) { return std::pair{b->size, a->path} < std::pair{a->size, b->path}; });
    biggest.resize(shown);
    std::vector<std::string> texts;
    for (const auto *file : biggest)
        texts.push_back(fmt::format("{} ({})", printable(file->path), human_bytes(file->size)));
    list.warnings.push_back(fmt::format("the code is {}; the biggest files are {}; leave out what is not code with "
                                        ".gitignore or code.exclude",
                                        human_bytes(list.total_bytes), join(texts, ", ")));
}

} // namespace

std::string code_hash(const std::vector<CodeFile> &files) {
    Sha256 hash;
    const auto add = [&hash](std::string_view field) {
        hash.add(std::to_string(field.size()) + ":");
        hash.add(field);
    };
    add("trainctl code 1");
    for (const auto &file : files) {
        add(file.is_link ? "link" : "file");
        add(file.executable ? "x" : "-");
        add(file.path);
        add(std::to_string(file.size));
        add(file.sha256);
    }
    return hash.hex();
}

Result<FileList> list_code(const SnapshotSpec &spec) {
    struct stat info {};
    if (::stat(spec.folder.c_str(), &info) != 0 || !S_ISDIR(info.st_mode))
        return Error{ErrorKind::not_found, "there is no such folder", spec.folder, "see code.path in the experiment"};
    const auto exclude = ExcludePatterns::parse(spec.exclude);
    if (!exclude)
        return exclude.error();
    auto candidates = list_candidates(spec, *exclude);
    if (!candidates)
        return candidates.error();
    std::sort(candidates->paths.begin(), candidates->paths.end(), tree_order);
    candidates->paths.erase(std::unique(candidates->paths.begin(), candidates->paths.end()), candidates->paths.end());

    FileList list;
    Collector collector{spec.folder};
    for (const auto &path : candidates->paths) {
        if (inside_git(path) || exclude->matches(path, false))
            continue;
        if (auto added = collector.add(path); !added)
            return added.error();
    }
    list.folder = spec.folder;
    list.files = collector.take();
    std::sort(list.files.begin(), list.files.end(), [](const auto &a, const auto &b) { return a.path < b.path; });
    list.warnings = std::move(candidates->warnings);
    collector.warn(list.warnings);
    if (list.files.empty())
        return Error{ErrorKind::not_found, "there is nothing to send in this folder", spec.folder,
                     candidates->from_git ? "git ignores all of it, or code.exclude does" : "see code.path and code.exclude"};
    for (const auto &file : list.files)
        list.total_bytes += file.size;
    list.hash = code_hash(list.files);
    list.from_git = candidates->from_git;
    list.git_commit = std::move(candidates->commit);
    list.git_dirty = candidates->dirty;
    list.git_diff = std::move(candidates->diff);
    list.git_diff_cut = candidates->diff_cut;
    warn_when_large(list);
    return list;
}

} // namespace trainctl

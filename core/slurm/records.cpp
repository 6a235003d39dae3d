#include "slurm/parse.h"

#include "base/text.h"

#include <algorithm>
#include <array>

namespace trainctl {

namespace {

constexpr std::array starters{"JobId=", "NodeName=", "PartitionName="};

// Values that people or sites write, so that blanks and "=" may be in them.
constexpr std::array free_text{"JobName", "Command", "SubmitLine", "WorkDir", "StdErr", "StdIn", "StdOut", "Comment",
                               "AdminComment", "SystemComment", "Extra", "OS", "Reason", "BatchScript"};

// What may follow such a value on the same line; any other word with "=" belongs to the value.
constexpr std::array after_free_text{
    "UserId", "Dependency", "Command", "SubmitLine", "WorkDir", "StdErr", "StdIn", "StdOut", "Comment",
    "AdminComment", "SystemComment", "Extra", "Power", "MailUser", "MailType", "TresPerJob", "TresPerTask",
    "TresPerNode", "TresPerSocket", "TresBind", "TresFreq", "CpusPerTres", "MemPerTres", "NtasksPerTRES", "Switches",
    "KillOInInvalidDependent", "RealMemory", "Requeue", "ClusterFeatures", "Network"};

template <class List> bool has(const List &list, std::string_view word) {
    return std::find(list.begin(), list.end(), word) != list.end();
}

bool starts_record(std::string_view line) {
    return std::any_of(starters.begin(), starters.end(), [&](const char *word) { return starts_with(line, word); });
}

// The key at the start of `text` ("CPUs/Task" of "CPUs/Task=1 ..."), or "".
std::string_view key_at(std::string_view text) {
    if (text.empty() || text[0] < 'A' || text[0] > 'Z')
        return {};
    std::size_t end = 0;
    const auto in_key = [](char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '/' ||
               c == ':';
    };
    while (end < text.size() && in_key(text[end]))
        ++end;
    return end < text.size() && text[end] == '=' ? text.substr(0, end) : std::string_view{};
}

// Where the value that begins `text` ends: before the blank in front of the next key, or at the end.
std::size_t value_end(std::string_view text, bool is_free) {
    for (std::size_t at = text.find(' '); at != std::string_view::npos; at = text.find(' ', at + 1)) {
        const auto key = key_at(text.substr(at + 1));
        if (!key.empty() && (!is_free || has(after_free_text, key)))
            return at;
    }
    return text.size();
}

void read_line(std::string_view line, Record &record) {
    line = trim(line);
    while (!line.empty()) {
        const auto key = key_at(line);
        if (key.empty()) {
            const auto blank = line.find(' ');
            line = blank == std::string_view::npos ? std::string_view{} : trim(line.substr(blank));
            continue;
        }
        const auto rest = line.substr(key.size() + 1);
        const auto end = value_end(rest, has(free_text, key));
        record.emplace(key, valid_utf8(trim(rest.substr(0, end))));
        line = trim(rest.substr(end));
    }
}

} // namespace

std::vector<Record> parse_records(std::string_view text) {
    std::vector<Record> records;
    bool open = false;
    for (const auto &line : split_lines(text)) {
        const auto content = trim(line);
        if (starts_record(content)) {
            records.emplace_back();
            open = true;
        } else if (content.empty()) {
            open = false;
        }
        if (open)
            read_line(content, records.back());
    }
    return records;
}

std::string field(const Record &record, const std::string &key) {
    const auto at = record.find(key);
    return at == record.end() ? "" : known_value(at->second);
}

} // namespace trainctl

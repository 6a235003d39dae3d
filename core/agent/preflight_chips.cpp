#include "agent/preflight_chips.h"

#include "base/text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <fmt/format.h>
#include <set>

namespace trainctl {

namespace {

// Those whose immediate action in NVIDIA's catalog is to reset the GPU or to restart the machine, and 48, an
// uncorrected memory error: https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html
constexpr std::array fatal_xids{46, 48, 62, 64, 79, 95, 109, 110, 119, 120, 136, 140, 143, 151, 155, 156, 158};
constexpr std::array memory_xids{48, 64, 95, 140}; // of those, the ones of its memory
constexpr int lost_xid = 79;
constexpr int recovery_xid = 154; // "GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)"

template <class Number> std::optional<Number> number(std::string_view text) {
    Number out{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    return error == std::errc{} && end == text.data() + text.size() ? std::optional{out} : std::nullopt;
}

std::string lower(std::string_view text) {
    std::string out{text};
    std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return out;
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// "00000000:3B:00.0" and "0000:3b:00" -> "0000:3b:00"; empty for what is no address.
std::string pci_address(std::string_view text) {
    const auto parts = split(lower(trim(text)), ':');
    const auto hex = [](const std::string &word) {
        return !word.empty() && std::all_of(word.begin(), word.end(), [](unsigned char c) { return std::isxdigit(c) != 0; });
    };
    if (parts.size() != 3 || parts[0].size() < 4 || !hex(parts[0]) || !hex(parts[1]) || !hex(parts[2].substr(0, 2)))
        return "";
    return parts[0].substr(parts[0].size() - 4) + ":" + parts[1] + ":" + parts[2].substr(0, 2);
}

std::vector<std::string> cells(std::string_view line) {
    auto out = split(line, ',');
    for (auto &cell : out)
        cell = std::string{trim(cell)};
    return out;
}

constexpr const char *lost_fact = "gpu-lost", *memory_fact = "gpu-ecc", *driver_fact = "gpu-xid"; // of templates/failure_rules.yaml

const char *fact_of(int xid) {
    if (std::find(memory_xids.begin(), memory_xids.end(), xid) != memory_xids.end())
        return memory_fact;
    return xid == lost_xid ? lost_fact : driver_fact;
}

bool says_lost(std::string_view line) {
    const std::string text = lower(line);
    return contains(text, "gpu is lost") || contains(text, "fallen off the bus") || contains(text, "unable to determine the device handle") ||
           contains(text, "unknown error");
}

} // namespace

// `nvidia-smi --help-query-gpu` and `--help-query-remapped-rows` name the fields.
const std::vector<std::string> nvidia_query{
    "--query-gpu=index,pci.bus_id,uuid,name,mig.mode.current,ecc.errors.uncorrected.volatile.total,retired_pages.pending",
    "--format=csv,noheader,nounits"};
const std::vector<std::string> nvidia_short_query{"--query-gpu=index,pci.bus_id,uuid,name", "--format=csv,noheader,nounits"};
const std::vector<std::string> nvidia_rows_query{"--query-remapped-rows=gpu_bus_id,remapped_rows.pending,remapped_rows.failure",
                                                 "--format=csv,noheader"};
const std::vector<std::string> rocm_query{"--showid", "--csv"};
const std::vector<std::string> rocm_ras_query{"--showrasinfo", "all"};

ChipsAnswer parse_nvidia(std::string_view csv) {
    ChipsAnswer out;
    for (const auto &line : split_lines(csv)) {
        if (trim(line).empty())
            continue;
        const auto row = cells(line);
        const auto index = number<int>(row[0]);
        const std::string pci = row.size() > 1 ? pci_address(row[1]) : "";
        if (says_lost(line))
            out.lost.emplace_back(trim(line));
        else if (row.size() < 4 || !index || pci.empty())
            out.strange.emplace_back(trim(line));
        else {
            ChipSeen chip{*index, pci, row[2], row[3], false, -1, false, false};
            chip.mig = row.size() > 4 && row[4] == "Enabled";
            chip.uncorrected = row.size() > 5 ? number<std::int64_t>(row[5]).value_or(-1) : -1; // "[N/A]": no ECC
            chip.repair_pending = row.size() > 6 && row[6] == "Yes";
            out.chips.push_back(chip);
        }
    }
    return out;
}

void add_remapped_rows(std::string_view csv, std::vector<ChipSeen> &chips) {
    for (const auto &line : split_lines(csv)) {
        const auto row = cells(line);
        const std::string pci = pci_address(row[0]);
        for (auto &chip : chips) {
            if (row.size() < 3 || pci.empty() || chip.pci != pci)
                continue;
            // Both are flags; drivers print them as 0 and 1, or as No and Yes.
            chip.repair_pending = chip.repair_pending || row[1] == "1" || row[1] == "Yes";
            chip.repair_failed = row[2] == "1" || row[2] == "Yes";
        }
    }
}

ChipsAnswer parse_rocm(std::string_view csv) {
    // "device,Device Name,..." and a line "card0,..." for each.
    ChipsAnswer out;
    for (const auto &line : split_lines(csv)) {
        const auto row = cells(line);
        const auto index = starts_with(row[0], "card") ? number<int>(std::string_view{row[0]}.substr(4)) : std::nullopt;
        if (index)
            out.chips.push_back({*index, "", "", row.size() > 1 ? row[1] : "", false, -1, false, false});
        else if (!trim(line).empty() && row[0] != "device")
            out.strange.emplace_back(trim(line));
    }
    return out;
}

std::vector<PreflightLine> judge_rocm_errors(std::string_view table) {
    std::vector<PreflightLine> out;
    for (const auto &line : split_lines(table)) {
        std::vector<std::string> words;
        for (const auto &word : split(line, ' '))
            if (!trim(word).empty())
                words.emplace_back(trim(word));
        // "  UMC   ENABLED   0   0", with "GPU[0]" and more before it in some versions.
        if (words.size() < 4)
            continue;
        const auto one = number<std::uint64_t>(words[words.size() - 2]), other = number<std::uint64_t>(words.back());
        if (one && other && *one + *other > 0)
            out.push_back({Finding::warning, fmt::format("rocm-smi counts memory errors, none expected: {}", join(words, " "))});
    }
    return out;
}

bool nvidia_says_broken(int exit_code) {
    // RETURN VALUE in the manual of nvidia-smi: 2 to 4 and 13 blame the question, 14 an info ROM that trainings
    // never read, 127 is the shell's.
    constexpr std::array<int, 7> harmless{0, 2, 3, 4, 13, 14, 127};
    return std::find(harmless.begin(), harmless.end(), exit_code) == harmless.end();
}

std::vector<XidSeen> parse_xids(std::string_view kernel_log) {
    // "[ 1936.51] NVRM: Xid (PCI:0000:3b:00): 79, pid=..., GPU has fallen off the bus."; older drivers: "Xid (0000:3b:00): 79".
    constexpr std::string_view mark = "NVRM: Xid (";
    std::vector<XidSeen> out;
    for (const auto &line : split_lines(kernel_log)) {
        const auto at = line.find(mark);
        const auto close = at == std::string::npos ? at : line.find("): ", at);
        if (close == std::string::npos)
            continue;
        XidSeen seen;
        std::string_view address = std::string_view{line}.substr(at + mark.size(), close - at - mark.size());
        if (starts_with(address, "PCI:"))
            address.remove_prefix(4);
        seen.pci = pci_address(address);
        const auto code = std::string_view{line}.substr(close + 3);
        seen.code = number<int>(code.substr(0, code.find_first_not_of("0123456789"))).value_or(0);
        const auto open = line.find('['), end = line.find(']');
        if (open != std::string::npos && end != std::string::npos && open < end && end < at)
            seen.seconds = number<double>(trim(std::string_view{line}.substr(open + 1, end - open - 1))).value_or(-1);
        seen.line = line.substr(at);
        if (seen.code > 0)
            out.push_back(seen);
    }
    return out;
}

bool is_fatal_xid(int code) { return std::find(fatal_xids.begin(), fatal_xids.end(), code) != fatal_xids.end(); }

std::vector<ChipSeen> chips_of_job(const std::vector<ChipSeen> &all, int chips_per_node, std::string_view visible) {
    // Where devices are confined, the tool shows only ours and the variable counts from 0 within them.
    if (trim(visible).empty() || static_cast<int>(all.size()) <= chips_per_node)
        return all;
    std::vector<ChipSeen> out;
    for (const auto &name : cells(visible)) {
        const auto index = number<int>(name);
        const auto found = std::find_if(all.begin(), all.end(), [&](const ChipSeen &chip) {
            return index ? chip.index == *index : starts_with(name, "GPU-") && starts_with(chip.uuid, name);
        });
        if (found == all.end())
            return all;
        out.push_back(*found);
    }
    return out;
}

std::vector<PreflightLine> judge_chips(const std::string &tool, const ChipsAnswer &answer, int chips_per_node) {
    std::vector<PreflightLine> out;
    for (const auto &line : answer.lost)
        out.push_back({Finding::bad, fmt::format("{}: a chip does not answer: {}", tool, line), lost_fact});
    const bool none = std::any_of(answer.strange.begin(), answer.strange.end(),
                                  [](const std::string &line) { return contains(lower(line), "no devices"); });
    const auto seen = static_cast<int>(answer.chips.size());
    if (seen == 0 && answer.lost.empty() && !none) {
        // Blind is not broken: a tool that prints something else must not take every node away.
        out.push_back({Finding::warning, fmt::format("{}: its answer can't be read, chips not checked: {}", tool,
                                                     answer.strange.empty() ? "(nothing)" : answer.strange.front().substr(0, 200))});
        return out;
    }
    if (std::any_of(answer.chips.begin(), answer.chips.end(), [](const ChipSeen &chip) { return chip.mig; }))
        out.push_back({Finding::fine, fmt::format("{}: {} chips, cut into MIG parts: not counted", tool, seen)});
    else
        out.push_back({seen < chips_per_node ? Finding::bad : Finding::fine, fmt::format("{}: {} chips, {} expected", tool, seen, chips_per_node),
                       seen < chips_per_node ? lost_fact : ""});
    for (const auto &chip : answer.chips) {
        const std::string name = fmt::format("chip {} ({}{}{})", chip.index, chip.name, chip.pci.empty() ? "" : ", ", chip.pci);
        if (chip.uncorrected > 0)
            out.push_back({Finding::bad, fmt::format("{}: {} uncorrectable memory errors since its driver was loaded, 0 expected", name, chip.uncorrected), memory_fact});
        if (chip.repair_pending)
            out.push_back({Finding::bad, name + ": memory waits for a reset to be repaired (retired pages or remapped rows pending)", memory_fact});
        if (chip.repair_failed)
            out.push_back({Finding::bad, name + ": a row of its memory could not be remapped", memory_fact});
    }
    return out;
}

std::vector<PreflightLine> judge_xids(const std::vector<XidSeen> &xids, const std::vector<ChipSeen> &chips, double uptime_seconds, double recent_seconds) {
    std::vector<PreflightLine> out;
    std::set<std::pair<int, std::string>> told;
    for (auto xid = xids.begin(); xid != xids.end(); ++xid) {
        const bool mended = std::any_of(xid, xids.end(), [&](const XidSeen &later) {
            return later.code == recovery_xid && later.pci == xid->pci && contains(later.line, "to 0x0");
        });
        if (!is_fatal_xid(xid->code) || mended || !told.insert({xid->code, xid->pci}).second)
            continue;
        const bool ours = chips.empty() || xid->pci.empty() ||
                          std::any_of(chips.begin(), chips.end(), [&](const ChipSeen &chip) { return chip.pci == xid->pci; });
        const double age = std::max(0.0, uptime_seconds - xid->seconds);
        const bool recent = xid->seconds >= 0 && age < recent_seconds;
        out.push_back({ours && recent ? Finding::bad : Finding::warning,
                       fmt::format("kernel: fatal Xid {}{}{}: {}", xid->code,
                                   xid->seconds < 0 ? " at an unknown time" : fmt::format(" {:.0f} min ago", age / 60),
                                   ours ? "" : ", not of this job's chips", xid->line),
                       ours && recent ? fact_of(xid->code) : ""});
    }
    return out;
}

} // namespace trainctl

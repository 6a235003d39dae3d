#include "failure/literals.h"

#include "base/invariant.h"
#include "failure/pattern.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <re2/filtered_re2.h>

namespace trainctl {

namespace {

// A word is found by its grams of four bytes. Only every third byte of a text is looked at: of three neighbouring grams of
// the word one lies there, so that a word needs six bytes. Shorter ones are searched one by one.
constexpr std::size_t gram_bytes = 4, stride = 3, long_literal = gram_bytes + stride - 1;
constexpr std::size_t short_literal = 3;
constexpr std::size_t max_short = 4; // each costs another pass over the text
constexpr std::size_t hash_bits = 18; // 32 KiB of bits: they stay in the nearest cache
constexpr std::uint32_t case_bits = 0x20202020;

std::uint32_t gram_at(const char *text) {
    std::uint32_t gram = 0;
    std::memcpy(&gram, text, gram_bytes);
    return gram | case_bits;
}

std::uint32_t hash(std::uint32_t gram) { return (gram * 2654435761u) >> (32 - hash_bits); } // Knuth's multiplier

// Both cases of a letter become one; so do some other bytes, which only adds maybes.
char folded(char byte) { return static_cast<char>(byte | 0x20); }

// The kinds of lines that healthy logs are full of. Words of them are not looked for where others will do: they would be found
// on many lines in vain.
constexpr std::string_view everyday =
    " iteration 5426/ 250000 | consumed samples: 43408 | elapsed time per iteration (ms): 4247.9 | learning rate: 2.999E-04 | "
    "global batch size: 8 | lm loss: 2.31 | loss scale: 1.0 | grad norm: 0.38 | number of skipped iterations: 0 | "
    "number of nan iterations: 0 |\n[default7]: Epoch 3: 40%|####      | 40/100 [00:10<00:15, 3.9it/s, v_num=3]\n"
    "[2024-05-01 10:00:00,123] [INFO] [logging.py:96:log_dist] [Rank 0] step=10, skipped=4, lr=[0.0001], mom=[(0.9, 0.95)]\n"
    "n1:5276:5696 [1] NCCL INFO Channel 21/0 : 1[101d0] -> 0[101c0] via P2P/IPC/read NET/IB Connected all rings trees\n"
    "saving checkpoint at iteration 1000 to /scratch/run/checkpoints/iter_0001000 mp_rank_00_model_states.pt successfully saved\n"
    "{'loss': 2.1, 'grad_norm': 1.5, 'learning_rate': 1e-05, 'epoch': 0.1} train_loss=2.1 val_loss: 2.2 accuracy\n"
    "INFO:__main__:step 100 time (ms) | forward-compute: 12.1 | backward-compute: 20.2 | optimizer: 3.1 tokens per second\n"
    "WARNING: loading data from file, building dataset index, validation, evaluation, memory allocated, max reserved, GPU utilization\n"
    "  File \"/opt/conda/lib/python3.10/site-packages/torch/nn/modules/module.py\", line 1501, in _call_impl\n"
    "node worker process device model parameters world size local rank initialized distributed training started workers\n";

bool is_everyday(std::string_view text) {
    static const std::string folded_lines = [] {
        std::string out{everyday};
        std::transform(out.begin(), out.end(), out.begin(), folded);
        return out;
    }();
    return folded_lines.find(text) != std::string::npos;
}

// Words that come first should not be kept: short ones, then everyday ones, then the less long ones.
int badness(const std::string &text) {
    std::string plain = text;
    std::transform(plain.begin(), plain.end(), plain.begin(), folded);
    return (text.size() < long_literal ? 2000 : is_everyday(plain) ? 1000 : 0) - static_cast<int>(text.size());
}

} // namespace

LiteralFinder::LiteralFinder(const std::vector<std::string> &patterns) {
    std::map<std::string, std::vector<int>> all;
    for (std::size_t i = 0; i < patterns.size(); ++i) {
        const auto words = words_for(patterns[i]);
        if (words.empty())
            unfiltered_.push_back(static_cast<int>(i));
        for (const auto &word : words)
            all[word].push_back(static_cast<int>(i));
    }
    for (auto &[text, users] : all) {
        literals_.push_back({text, users});
        if (text.size() >= long_literal)
            continue;
        if (short_.size() < max_short) {
            short_.push_back(static_cast<std::uint32_t>(literals_.size() - 1));
            continue;
        }
        literals_.pop_back();
        unfiltered_.insert(unfiltered_.end(), users.begin(), users.end());
    }
    std::sort(unfiltered_.begin(), unfiltered_.end());
    unfiltered_.erase(std::unique(unfiltered_.begin(), unfiltered_.end()), unfiltered_.end());
    build_table();
}

// A set of words of which each match of the pattern has at least one, as small as taking away one by one makes it.
std::vector<std::string> LiteralFinder::words_for(const std::string &pattern) const {
    re2::FilteredRE2 filter(short_literal);
    int id = 0;
    std::vector<std::string> atoms;
    if (filter.Add(pattern, pattern_options(), &id) != RE2::NoError)
        return {};
    filter.Compile(&atoms);
    std::vector<int> possible;
    filter.AllPotentials({}, &possible);
    if (atoms.empty() || !possible.empty())
        return {};
    std::vector<std::size_t> order(atoms.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return badness(atoms[a]) > badness(atoms[b]); });
    std::vector<int> without; // may stand in a text that the pattern does not match
    for (const auto index : order) {
        without.push_back(static_cast<int>(index));
        filter.AllPotentials(without, &possible);
        if (!possible.empty())
            without.pop_back();
    }
    std::vector<std::string> words;
    for (std::size_t i = 0; i < atoms.size(); ++i)
        if (std::find(without.begin(), without.end(), static_cast<int>(i)) == without.end()) {
            std::transform(atoms[i].begin(), atoms[i].end(), atoms[i].begin(), folded);
            words.push_back(atoms[i]);
        }
    return words;
}

void LiteralFinder::build_table() {
    for (std::uint32_t index = 0; index < literals_.size(); ++index) {
        const std::string &text = literals_[index].text;
        if (text.size() < long_literal)
            continue;
        std::size_t best = 0;
        int least = 1 << 20;
        for (std::size_t at = 0; at + long_literal <= text.size(); ++at) {
            int cost = 0;
            for (std::size_t offset = at; offset < at + stride; ++offset)
                cost += is_everyday(std::string_view{text}.substr(offset, gram_bytes)) ? 1 : 0;
            if (cost < least)
                least = cost, best = at;
        }
        for (std::size_t offset = best; offset < best + stride; ++offset)
            entries_.push_back({gram_at(text.data() + offset), index, static_cast<std::uint32_t>(offset)});
    }
    std::sort(entries_.begin(), entries_.end(), [](const Entry &a, const Entry &b) { return a.gram < b.gram; });
    bits_.assign((std::size_t{1} << hash_bits) / 64, 0);
    std::size_t size = 64;
    while (size < entries_.size() * 4)
        size *= 2;
    slots_.assign(size, Slot{});
    for (std::size_t i = 0; i < entries_.size();) {
        std::size_t end = i;
        while (end < entries_.size() && entries_[end].gram == entries_[i].gram)
            ++end;
        const std::uint32_t h = hash(entries_[i].gram);
        bits_[h / 64] |= std::uint64_t{1} << (h % 64);
        std::size_t slot = h & (size - 1);
        while (slots_[slot].count != 0)
            slot = (slot + 1) & (size - 1);
        slots_[slot] = {entries_[i].gram, static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(end - i)};
        i = end;
    }
}

const LiteralFinder::Slot *LiteralFinder::slot_of(std::uint32_t gram) const {
    for (std::size_t slot = hash(gram) & (slots_.size() - 1); slots_[slot].count != 0; slot = (slot + 1) & (slots_.size() - 1))
        if (slots_[slot].gram == gram)
            return &slots_[slot];
    return nullptr;
}

void LiteralFinder::check(std::string_view text, std::size_t at, std::vector<Mark> &marks) const {
    const Slot *slot = slot_of(gram_at(text.data() + at));
    if (slot == nullptr)
        return;
    for (std::uint32_t i = slot->first; i < slot->first + slot->count; ++i) {
        const Entry &entry = entries_[i];
        const std::string &word = literals_[entry.literal].text;
        if (at < entry.offset || at - entry.offset + word.size() > text.size())
            continue;
        const char *begin = text.data() + at - entry.offset;
        if (std::equal(word.begin(), word.end(), begin, [](char a, char b) { return a == folded(b); }))
            marks.push_back({static_cast<std::uint32_t>(at), entry.literal});
    }
}

void LiteralFinder::find(std::string_view text, std::vector<Mark> &marks) const {
    marks.clear();
    INVARIANT(text.size() < (std::size_t{1} << 32));
    if (!entries_.empty()) {
        const std::uint64_t *bits = bits_.data();
        const auto may_be = [&](std::size_t at) {
            const std::uint32_t h = hash(gram_at(text.data() + at));
            return bits[h / 64] >> (h % 64) & 1;
        };
        std::size_t at = 0;
        for (; at + 3 * stride + gram_bytes <= text.size(); at += 4 * stride) // four at a time: most often none is
            if ((may_be(at) | may_be(at + stride) | may_be(at + 2 * stride) | may_be(at + 3 * stride)) != 0)
                for (std::size_t one = at; one < at + 4 * stride; one += stride)
                    if (may_be(one) != 0)
                        check(text, one, marks);
        for (; at + gram_bytes <= text.size(); at += stride)
            if (may_be(at) != 0)
                check(text, at, marks);
    }
    const std::size_t long_ones = marks.size();
    for (const auto literal : short_)
        find_short(text, literal, marks);
    const auto by_place = [](const Mark &a, const Mark &b) { return a.at < b.at; };
    if (marks.size() > long_ones && !short_.empty())
        std::stable_sort(marks.begin(), marks.end(), by_place);
}

void LiteralFinder::find_short(std::string_view text, std::uint32_t literal, std::vector<Mark> &marks) const {
    using Bytes [[gnu::vector_size(16), gnu::may_alias]] = unsigned char;
    using Words [[gnu::vector_size(16), gnu::may_alias]] = std::uint64_t;
    const std::string &word = literals_[literal].text;
    const auto all_of = [](char byte) { return Bytes{} + static_cast<unsigned char>(byte); };
    const Bytes first = all_of(word[0]), second = all_of(word[1]), third = all_of(word[2]), fold = all_of(0x20);
    const auto is_at = [&](std::size_t at) {
        return at + word.size() <= text.size() &&
               std::equal(word.begin(), word.end(), text.data() + at, [](char a, char b) { return a == folded(b); });
    };
    std::size_t at = 0;
    for (; at + 18 <= text.size(); at += 16) {
        Bytes a, b, c;
        std::memcpy(&a, text.data() + at, 16);
        std::memcpy(&b, text.data() + at + 1, 16);
        std::memcpy(&c, text.data() + at + 2, 16);
        const Words hit = reinterpret_cast<Words>(((a | fold) == first) & ((b | fold) == second) & ((c | fold) == third));
        if ((hit[0] | hit[1]) == 0)
            continue;
        for (std::size_t i = at; i < at + 16; ++i)
            if (is_at(i))
                marks.push_back({static_cast<std::uint32_t>(i), literal});
    }
    for (; at < text.size(); ++at)
        if (is_at(at))
            marks.push_back({static_cast<std::uint32_t>(at), literal});
}

} // namespace trainctl

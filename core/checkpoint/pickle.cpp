#include "checkpoint/pickle.h"

#include <fmt/format.h>
#include <limits>
#include <unordered_map>

namespace trainctl {

class PickleReader {
public:
    using Ref = Pickle::Ref;
    using Kind = Pickle::Kind;

    PickleReader(std::string_view bytes, const Pickle::Limits &limits) : bytes_(bytes), limits_(limits) {}

    std::optional<Pickle> run(std::string &problem) {
        while (!done_ && failure_.empty())
            step();
        if (failure_.empty() && (at_ != bytes_.size() || stack_.size() != 1 || stack_[0] == mark))
            failure_ = "there is more than one value in it";
        if (!failure_.empty()) {
            problem = failure_;
            return std::nullopt;
        }
        pickle_.root_ = stack_[0];
        return std::move(pickle_);
    }

private:
    static constexpr Ref mark = 0xfffffffe;

    void fail(std::string why) {
        if (failure_.empty())
            failure_ = std::move(why);
    }

    std::string_view take(std::uint64_t count) {
        if (count > bytes_.size() - at_) {
            fail("it is cut short");
            return {};
        }
        const auto out = bytes_.substr(at_, static_cast<std::size_t>(count));
        at_ += out.size();
        return out;
    }
    std::uint64_t number(std::size_t width) {
        std::uint64_t value = 0;
        const auto bytes = take(width);
        for (std::size_t i = bytes.size(); i-- > 0;)
            value = value << 8 | static_cast<unsigned char>(bytes[i]);
        return value;
    }
    std::string_view line() {
        const auto end = bytes_.find('\n', at_);
        const auto out = take(end == std::string_view::npos ? bytes_.size() + 1 : end - at_ + 1);
        return out.empty() ? out : out.substr(0, out.size() - 1);
    }

    Ref make(Pickle::Value value) {
        if (pickle_.values_.size() >= limits_.values) {
            fail(fmt::format("it has more than {} values", limits_.values));
            return 0;
        }
        pickle_.values_.push_back(std::move(value));
        return static_cast<Ref>(pickle_.values_.size() - 1);
    }
    void push(Ref value) { stack_.push_back(value); }
    void push(Kind kind) { push(make({.kind = kind, .number = 0, .text = {}, .items = {}})); }
    void push_integer(std::int64_t value, Kind kind = Kind::integer) { push(make({.kind = kind, .number = value, .text = {}, .items = {}})); }
    void push_text(std::string_view text) { push(make({.kind = Kind::text, .number = 0, .text = text, .items = {}})); }
    Ref pop() {
        if (stack_.empty() || stack_.back() == mark) {
            fail("its stack is empty");
            return make({});
        }
        const Ref out = stack_.back();
        stack_.pop_back();
        return out;
    }
    // Down to the last mark, which goes too.
    std::vector<Ref> pop_to_mark() {
        std::size_t from = stack_.size();
        while (from > 0 && stack_[from - 1] != mark)
            --from;
        if (from == 0) {
            fail("a mark is missing");
            return {};
        }
        std::vector<Ref> out(stack_.begin() + static_cast<std::ptrdiff_t>(from), stack_.end());
        stack_.resize(from - 1);
        return out;
    }
    Pickle::Value &value(Ref ref) { return pickle_.values_[ref]; }
    void push_list(Kind kind, std::vector<Ref> items) { push(make({.kind = kind, .number = 0, .text = {}, .items = std::move(items)})); }
    // Onto the value on top, which stays.
    void add(const std::vector<Ref> &items) {
        const Ref top = pop();
        if (failure_.empty())
            value(top).items.insert(value(top).items.end(), items.begin(), items.end());
        push(top);
    }
    void push_object(Ref called, Ref arguments) {
        if (failure_.empty())
            push(make({.kind = Kind::object, .number = 0, .text = value(called).text, .items = {}, .state = Pickle::nothing, .arguments = arguments}));
    }
    void remember(std::uint64_t at) {
        if (stack_.empty() || stack_.back() == mark)
            return fail("its stack is empty");
        memo_[at] = stack_.back();
    }
    void recall(std::uint64_t at) {
        const auto found = memo_.find(at);
        if (found == memo_.end())
            return fail("it refers to a value that is not there");
        push(found->second);
    }
    std::uint64_t line_number() {
        std::uint64_t out = 0;
        for (const char c : line()) {
            if (c < '0' || c > '9' || out > 0xffffffff) {
                fail("a number in it is none");
                return 0;
            }
            out = out * 10 + static_cast<std::uint64_t>(c - '0');
        }
        return out;
    }
    void push_long(std::uint64_t width) {
        const auto bytes = take(width);
        if (bytes.size() > 8)
            return push(Kind::other);
        std::uint64_t out = !bytes.empty() && (bytes.back() & 0x80) != 0 ? ~std::uint64_t{0} : 0;
        for (std::size_t i = bytes.size(); i-- > 0;)
            out = out << 8 | static_cast<unsigned char>(bytes[i]);
        push_integer(static_cast<std::int64_t>(out));
    }
    // "module\nname\n" as one text: "module name", with the line's end between.
    void push_global() {
        const auto begin = at_;
        line();
        const auto name = line();
        if (failure_.empty())
            push(make({.kind = Kind::object, .number = 0, .text = bytes_.substr(begin, at_ - begin - 1), .items = {}}));
        (void)name;
    }

    void step() {
        const auto code = take(1);
        if (code.empty())
            return;
        if (!simple(code[0]) && !container(code[0]) && !object(code[0]))
            fail(fmt::format("{:#04x} at byte {} is no opcode", static_cast<unsigned char>(code[0]), at_ - 1));
    }

    bool simple(char code) {
        switch (static_cast<unsigned char>(code)) {
        case '.': done_ = true; return true;
        case 0x80: take(1); return true;           // PROTO
        case 0x95: framed(); return true;          // FRAME
        case 'N': push(Kind::none); return true;
        case 0x88: push_integer(1, Kind::boolean); return true;
        case 0x89: push_integer(0, Kind::boolean); return true;
        case 'J': push_integer(static_cast<std::int32_t>(number(4))); return true;
        case 'K': push_integer(static_cast<std::int64_t>(number(1))); return true;
        case 'M': push_integer(static_cast<std::int64_t>(number(2))); return true;
        case 0x8a: push_long(number(1)); return true;
        case 0x8b: push_long(number(4)); return true;
        case 'G': take(8); push(Kind::other); return true;
        case 'I': case 'L': case 'F': line(); push(Kind::other); return true;
        case 'S': case 'V': push_text(line()); return true;
        case 'U': case 0x8c: push_text(take(number(1))); return true;
        case 'T': case 'X': push_text(take(number(4))); return true;
        case 0x8d: push_text(take(number(8))); return true;
        case 'C': take(number(1)); push(Kind::other); return true;
        case 'B': take(number(4)); push(Kind::other); return true;
        case 0x8e: case 0x96: take(number(8)); push(Kind::other); return true;
        case 0x97: push(Kind::other); return true; // NEXT_BUFFER
        case 0x98: return true;                    // READONLY_BUFFER
        default: return false;
        }
    }

    void framed() {
        if (number(8) > bytes_.size() - at_)
            fail("it is cut short");
    }

    bool container(char code) {
        switch (static_cast<unsigned char>(code)) {
        case '(': push(mark); return true;
        case '0': if (!stack_.empty()) stack_.pop_back(); return true;
        case '1': pop_to_mark(); return true;
        case '2': duplicate(); return true;
        case ']': push(Kind::list); return true;
        case ')': push(Kind::list); return true;
        case '}': push(Kind::dict); return true;
        case 0x8f: push(Kind::list); return true;
        case 'l': case 't': case 0x91: push_list(Kind::list, pop_to_mark()); return true;
        case 'd': push_list(Kind::dict, pop_to_mark()); return true;
        case 0x85: case 0x86: case 0x87: tuple(static_cast<unsigned char>(code) - 0x84u); return true;
        case 'a': { const Ref item = pop(); add({item}); return true; }
        case 'e': case 0x90: case 'u': add(pop_to_mark()); return true;
        case 's': { const Ref item = pop(), key = pop(); add({key, item}); return true; }
        case 'g': recall(line_number()); return true;
        case 'h': recall(number(1)); return true;
        case 'j': recall(number(4)); return true;
        case 'p': remember(line_number()); return true;
        case 'q': remember(number(1)); return true;
        case 'r': remember(number(4)); return true;
        case 0x94: remember(memo_.size()); return true;
        default: return false;
        }
    }

    void duplicate() {
        const Ref top = pop();
        push(top);
        push(top);
    }
    void tuple(std::size_t count) {
        std::vector<Ref> items(count);
        for (std::size_t i = count; i-- > 0;)
            items[i] = pop();
        push_list(Kind::list, std::move(items));
    }

    bool object(char code) {
        switch (static_cast<unsigned char>(code)) {
        case 'c': push_global(); return true;
        case 0x93: stack_global(); return true;
        case 'R': case 0x81: { const Ref arguments = pop(), called = pop(); push_object(called, arguments); return true; }
        case 0x92: { pop(); const Ref arguments = pop(), called = pop(); push_object(called, arguments); return true; }
        case 'o': { pop_to_mark(); push(Kind::object); return true; }
        case 'i': { line(); line(); pop_to_mark(); push(Kind::object); return true; }
        case 'b': { const Ref state = pop(), top = pop(); if (failure_.empty()) value(top).state = state; push(top); return true; }
        case 'P': line(); push(Kind::object); return true;
        case 'Q': pop(); push(Kind::object); return true; // a tensor's storage, in torch's files
        case 0x82: take(1); push(Kind::object); return true;
        case 0x83: take(2); push(Kind::object); return true;
        case 0x84: take(4); push(Kind::object); return true;
        default: return false;
        }
    }

    // The class's name alone: the module stands before it in the bytes or anywhere.
    void stack_global() {
        const Ref name = pop();
        pop();
        if (failure_.empty())
            push(make({.kind = Kind::object, .number = 0, .text = value(name).text, .items = {}}));
    }

    std::string_view bytes_;
    Pickle::Limits limits_;
    std::size_t at_ = 0;
    bool done_ = false;
    std::string failure_;
    std::vector<Ref> stack_;
    std::unordered_map<std::uint64_t, Ref> memo_;
    Pickle pickle_;
};

std::optional<Pickle> Pickle::parse(std::string_view bytes, const Limits &limits, std::string &problem) {
    return PickleReader{bytes, limits}.run(problem);
}

std::optional<std::int64_t> Pickle::integer(Ref value) const {
    const auto &one = values_[value];
    return one.kind == Kind::integer || one.kind == Kind::boolean ? std::optional{one.number} : std::nullopt;
}

std::optional<std::string_view> Pickle::text(Ref value) const {
    const auto &one = values_[value];
    return one.kind == Kind::text || one.kind == Kind::object ? std::optional{one.text} : std::nullopt;
}

std::optional<Pickle::Ref> Pickle::find(const std::vector<Ref> &pairs, std::string_view name) const {
    for (std::size_t i = 0; i + 1 < pairs.size(); i += 2)
        if (kind(pairs[i]) == Kind::text && values_[pairs[i]].text == name)
            return pairs[i + 1];
    return std::nullopt;
}

std::optional<Pickle::Ref> Pickle::member(Ref value, std::string_view name) const {
    const auto &one = values_[value];
    if (one.kind == Kind::dict)
        return find(one.items, name);
    if (one.kind != Kind::object)
        return std::nullopt;
    if (auto found = find(one.items, name)) // an OrderedDict
        return found;
    if (one.state == nothing)
        return std::nullopt;
    // A class with slots keeps them in the second of two.
    const auto &state = values_[one.state];
    if (state.kind == Kind::list) {
        for (const auto part : state.items)
            if (kind(part) == Kind::dict)
                if (auto found = find(values_[part].items, name))
                    return found;
        return std::nullopt;
    }
    return state.kind == Kind::dict ? find(state.items, name) : std::nullopt;
}

} // namespace trainctl

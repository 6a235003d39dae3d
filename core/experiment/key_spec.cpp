#include "experiment/key_spec.h"

#include "base/text.h"
#include "experiment/values.h"
#include "experiment/yaml_tree.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

const char *to_string(KeyType type) {
    switch (type) {
    case KeyType::text: return "text";
    case KeyType::path: return "path";
    case KeyType::shell: return "shell text";
    case KeyType::integer: return "whole number";
    case KeyType::duration: return "duration";
    case KeyType::size: return "size";
    case KeyType::enumeration: return "one of";
    case KeyType::signal: return "signal";
    case KeyType::list: return "list of texts";
    case KeyType::options: return "list of options";
    case KeyType::map: return "map of texts";
    case KeyType::command: return "command";
    }
    INVARIANT(false);
}

namespace {

template <class... Cases> struct Overload : Cases... { using Cases::operator()...; };
template <class... Cases> Overload(Cases...) -> Overload<Cases...>;

int place_in(const std::vector<std::string> &allowed, const std::string &text) {
    const auto found = std::find(allowed.begin(), allowed.end(), text);
    INVARIANT(found != allowed.end());
    return static_cast<int>(found - allowed.begin());
}

} // namespace

void store(const Slot &slot, const KeySpec &spec, const Value &value) {
    const auto number = [&] { return std::get<std::int64_t>(value); };
    std::visit(
        Overload{
            [&](std::string *to) { *to = std::get<std::string>(value); },
            [&](int *to) { *to = static_cast<int>(number()); },
            [&](std::optional<int> *to) { *to = static_cast<int>(number()); },
            [&](std::optional<std::int64_t> *to) { *to = number(); },
            [&](std::optional<std::uint64_t> *to) { *to = static_cast<std::uint64_t>(number()); },
            [&](std::chrono::seconds *to) { *to = std::chrono::seconds{number()}; },
            [&](std::optional<std::chrono::seconds> *to) { *to = std::chrono::seconds{number()}; },
            [&](std::vector<std::string> *to) { *to = std::get<std::vector<std::string>>(value); },
            [&](std::map<std::string, std::string> *to) { *to = std::get<std::map<std::string, std::string>>(value); },
            [&](const EnumSlot &to) { to.set(place_in(spec.allowed, std::get<std::string>(value))); },
        },
        slot);
}

std::optional<Value> load(const Slot &slot, const KeySpec &spec) {
    using Maybe = std::optional<Value>;
    const auto unless_empty = [](const auto &place) { return place.empty() ? Maybe{} : Maybe{Value{place}}; };
    const auto if_set = [](const auto &place) {
        return place ? Maybe{Value{static_cast<std::int64_t>(*place)}} : Maybe{};
    };
    return std::visit(
        Overload{
            [&](std::string *from) { return unless_empty(*from); },
            [&](int *from) { return Maybe{Value{std::int64_t{*from}}}; },
            [&](std::optional<int> *from) { return if_set(*from); },
            [&](std::optional<std::int64_t> *from) { return if_set(*from); },
            [&](std::optional<std::uint64_t> *from) { return if_set(*from); },
            [&](std::chrono::seconds *from) { return Maybe{Value{std::int64_t{from->count()}}}; },
            [&](std::optional<std::chrono::seconds> *from) {
                return *from ? Maybe{Value{std::int64_t{(*from)->count()}}} : Maybe{};
            },
            [&](std::vector<std::string> *from) { return unless_empty(*from); },
            [&](std::map<std::string, std::string> *from) { return unless_empty(*from); },
            [&](const EnumSlot &from) { return Maybe{Value{spec.allowed.at(static_cast<std::size_t>(from.get()))}}; },
        },
        slot);
}

namespace {

// A literal block is for people; only texts that it surely gives back unchanged are written so.
bool fits_block(const std::string &text) {
    if (text.size() < 2 || text.back() != '\n' || text[text.size() - 2] == '\n' || text.front() == ' ')
        return false;
    return std::all_of(text.begin(), text.end(), [](char c) { return c == '\n' || (c >= ' ' && c <= '~'); }) &&
           text.front() != '\n' && text.find(" \n") == std::string::npos;
}

std::string block(const std::string &text, const std::string &pad) {
    std::string out = "|\n";
    for (const auto &line : split_lines(text))
        out += line.empty() ? "\n" : pad + line + "\n";
    out.pop_back();
    return out;
}

} // namespace

std::string yaml_value(const Value &value, const KeySpec &spec, int indent) {
    const std::string pad(static_cast<std::size_t>(indent), ' ');
    return std::visit(
        Overload{
            [&](const std::string &text) {
                if (spec.type == KeyType::shell && fits_block(text))
                    return block(text, pad);
                if (spec.type == KeyType::enumeration)
                    return text;
                return yaml_scalar(spec.placeholders == env_placeholder ? escape_placeholders(text) : text);
            },
            [&](std::int64_t number) {
                if (spec.type == KeyType::duration)
                    return duration_text(std::chrono::seconds{number});
                if (spec.type == KeyType::size)
                    return size_text(static_cast<std::uint64_t>(number));
                return std::to_string(number);
            },
            [&](const std::vector<std::string> &items) {
                std::vector<std::string> parts;
                for (const auto &item : items)
                    parts.push_back(
                        yaml_scalar(spec.placeholders == env_placeholder ? escape_placeholders(item) : item));
                return fmt::format("[{}]", join(parts, ", "));
            },
            [&](const std::map<std::string, std::string> &entries) {
                std::string out;
                for (const auto &[name, text] : entries)
                    out += "\n" + pad + yaml_scalar(name) + ": " + yaml_scalar(text);
                return out;
            },
        },
        value);
}

std::string yaml_file(const std::vector<Line> &lines, int indent) {
    std::string out, section;
    const std::string pad(static_cast<std::size_t>(indent), ' ');
    for (const auto &line : lines) {
        const std::string path = line.spec->path;
        const auto dot = path.find('.');
        const std::string in = dot == std::string::npos ? "" : path.substr(0, dot);
        if (!in.empty() && in != section)
            out += pad + in + ":\n";
        section = in;
        const int own = in.empty() ? indent : indent + 2;
        const std::string name = in.empty() ? path : path.substr(dot + 1);
        const std::string value = yaml_value(line.value, *line.spec, own + 2);
        const bool map = !value.empty() && value[0] == '\n';
        out += std::string(static_cast<std::size_t>(own), ' ') + name + (map ? ":" : ": ") + value + "\n";
    }
    return out;
}

} // namespace trainctl

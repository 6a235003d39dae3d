// A Python pickle read as data: nothing is imported, called or made, whatever it asks for. Objects come out as their class's
// name with what they were to be made from. Pure. Format: CPython's Lib/pickletools.py, protocols 0 to 5.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

class Pickle {
public:
    enum class Kind : std::uint8_t { none, boolean, integer, other, text, list, dict, object };
    using Ref = std::uint32_t; // a value's place; values may contain each other

    struct Limits {
        std::size_t values = 4u << 20; // about 60 bytes each: a .metadata of some 100,000 tensors' shards
    };
    // `bytes` must live as long. Whole: from the first byte to STOP, which is the last one.
    static std::optional<Pickle> parse(std::string_view bytes, const Limits &limits, std::string &problem);
    static std::optional<Pickle> parse(std::string_view bytes, std::string &problem) { return parse(bytes, Limits{}, problem); }

    Ref root() const { return root_; }
    Kind kind(Ref value) const { return values_[value].kind; }
    std::optional<std::int64_t> integer(Ref value) const; // also of booleans
    std::optional<std::string_view> text(Ref value) const; // of an object: "module name" of its class
    // Of lists, tuples and sets; of a dict and of an object that was filled like one: key, value, key, value.
    const std::vector<Ref> &items(Ref value) const { return values_[value].items; }
    // The value of a key in a dict, or of an attribute of an object.
    std::optional<Ref> member(Ref value, std::string_view name) const;

private:
    friend class PickleReader;
    static constexpr Ref nothing = 0xffffffff;
    struct Value {
        Kind kind = Kind::none;
        std::int64_t number = 0;
        std::string_view text;   // into the bytes
        std::vector<Ref> items;
        Ref state = nothing;     // of objects: their attributes
        Ref arguments = nothing; // of objects: what their class is called with
    };
    std::optional<Ref> find(const std::vector<Ref> &pairs, std::string_view name) const;

    std::vector<Value> values_;
    Ref root_ = 0;
};

} // namespace trainctl

#include "experiment/yaml_tree.h"

#include "base/invariant.h"
#include "base/text.h"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <set>
#include <sstream>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

namespace trainctl {

namespace {

constexpr const char *no_anchors = "anchors and aliases (&name, *name) are not supported: write the value out, or put it in "
                                   "quotes if the text itself is meant";
constexpr std::size_t max_nodes = 20000; // bounds the parser's memory, as max_yaml_bytes its work
constexpr std::size_t max_depth = 16;    // the deepest key needs 4

struct Stop {
    Position at;
    std::string message;
};

Position position(const YAML::Mark &mark) { return {std::max(mark.line, 0) + 1, std::max(mark.column, 0) + 1, 0}; }

class Builder final : public YAML::EventHandler {
public:
    explicit Builder(YamlTree &tree) : tree_(tree) {}

    void OnDocumentStart(const YAML::Mark &mark) override {
        if (documents_++ > 0)
            throw Stop{position(mark), "a second document begins here: one file holds one experiment or one list of "
                                       "clusters; remove the '---'"};
    }
    void OnDocumentEnd() override {}
    void OnAlias(const YAML::Mark &mark, YAML::anchor_t) override {
        throw Stop{position(mark), no_anchors};
    }
    void OnNull(const YAML::Mark &mark, YAML::anchor_t anchor) override {
        check(mark, "?", anchor);
        if (wants_key())
            throw Stop{position(mark), "a key is missing before the ':'"};
        YamlNode node;
        node.at = position(mark);
        add(std::move(node));
    }
    void OnScalar(const YAML::Mark &mark, const std::string &tag, YAML::anchor_t anchor,
                  const std::string &value) override {
        check(mark, tag, anchor);
        last_scalar = position(mark);
        if (wants_key()) {
            take_key(value, position(mark));
            return;
        }
        YamlNode node;
        node.kind = YamlNode::Kind::scalar;
        node.plain = tag != "!";
        node.text = value;
        node.at = position(mark);
        add(std::move(node));
    }
    void OnSequenceStart(const YAML::Mark &mark, const std::string &tag, YAML::anchor_t anchor,
                         YAML::EmitterStyle::value) override {
        open(mark, tag, anchor, YamlNode::Kind::list);
    }
    void OnMapStart(const YAML::Mark &mark, const std::string &tag, YAML::anchor_t anchor,
                    YAML::EmitterStyle::value) override {
        open(mark, tag, anchor, YamlNode::Kind::map);
    }
    void OnSequenceEnd() override { close(); }
    void OnMapEnd() override { close(); }

    Position last_scalar;

    // Ends what a syntax error left open, so that the part before it can be checked. An incomplete list or
    // text would only bring follow-up errors, but its map's other keys are fine.
    void unwind() {
        while (!open_.empty())
            close();
    }

private:
    struct Frame {
        YamlNode node;
        std::string key;
        Position key_at;
        bool has_key = false, skip = false;
        std::set<std::string> keys;
    };

    bool wants_key() const {
        return !open_.empty() && open_.back().node.kind == YamlNode::Kind::map && !open_.back().has_key;
    }

    void check(const YAML::Mark &mark, const std::string &tag, YAML::anchor_t anchor) {
        if (anchor != 0)
            tree_.findings.push_back({position(mark), no_anchors});
        if (!tag.empty() && tag != "?" && tag != "!")
            tree_.findings.push_back({position(mark), "tags (!name) are not supported: put the value in quotes if the "
                                                      "text itself is meant"});
        if (++nodes_ > max_nodes)
            throw Stop{position(mark), fmt::format("more than {} values: this is no file of trainctl's", max_nodes)};
    }

    void take_key(const std::string &key, Position at) {
        Frame &frame = open_.back();
        frame.key = key;
        frame.key_at = at;
        frame.has_key = true;
        frame.skip = !frame.keys.insert(key).second;
        if (!frame.skip)
            return;
        const YamlEntry *first = frame.node.find(key);
        tree_.findings.push_back({at, fmt::format("duplicate key '{}': it stands at line {} already", valid_utf8(key),
                                                  first != nullptr ? first->key_at.line : at.line)});
    }

    void open(const YAML::Mark &mark, const std::string &tag, YAML::anchor_t anchor, YamlNode::Kind kind) {
        check(mark, tag, anchor);
        if (wants_key())
            throw Stop{position(mark),
                       "a list or a map stands where a key is wanted: a bracket is not closed, or a text "
                       "that begins with '{' or '[' needs quotes"};
        if (open_.size() >= max_depth)
            throw Stop{position(mark), fmt::format("nested deeper than {} levels", max_depth)};
        Frame frame;
        frame.node.kind = kind;
        frame.node.at = position(mark);
        open_.push_back(std::move(frame));
    }

    void close() {
        YamlNode node = std::move(open_.back().node);
        open_.pop_back();
        add(std::move(node));
    }

    void add(YamlNode node) {
        if (open_.empty()) {
            tree_.root = std::move(node);
            return;
        }
        Frame &frame = open_.back();
        if (frame.node.kind == YamlNode::Kind::list) {
            frame.node.items.push_back(std::move(node));
            return;
        }
        frame.has_key = false;
        if (!frame.skip)
            frame.node.entries.push_back({frame.key, frame.key_at, std::move(node)});
    }

    YamlTree &tree_;
    std::vector<Frame> open_;
    std::size_t nodes_ = 0;
    int documents_ = 0;
};

Position position_of(std::string_view text, std::size_t offset) {
    Position at;
    for (const char c : text.substr(0, offset)) {
        at.col = c == '\n' ? 1 : at.col + 1;
        at.line += c == '\n' ? 1 : 0;
    }
    return at;
}

// What yaml-cpp would misread or stop at without a word (it takes some control bytes for the end of the file).
std::optional<Finding> bad_bytes(std::string_view text) {
    if (text.size() > max_yaml_bytes)
        return Finding{{},
                       fmt::format("the file has {}: more than {} is no file of trainctl's", human_bytes(text.size()),
                                   human_bytes(max_yaml_bytes))};
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto c = static_cast<unsigned char>(text[i]);
        const bool line_end = c == '\n' || (c == '\r' && i + 1 < text.size() && text[i + 1] == '\n');
        if ((c < 0x20 && c != '\t' && !line_end) || c == 0x7f)
            return Finding{position_of(text, i),
                           fmt::format("control character 0x{:02x}: write it as \"\\x{:02x}\" if it is meant", c, c)};
    }
    const std::string valid = valid_utf8(text);
    if (valid == text)
        return std::nullopt;
    const auto differs = std::mismatch(text.begin(), text.end(), valid.begin(), valid.end()).first;
    return Finding{position_of(text, static_cast<std::size_t>(differs - text.begin())),
                   "not valid UTF-8: save the file as UTF-8"};
}

// yaml-cpp takes the end of the file for a closing quote. Only the last text can be such a one.
bool unclosed_quote(std::string_view text, const Position &at) {
    for (int line = 1; line < at.line; ++line)
        text.remove_prefix(std::min(text.size(), text.find('\n') + 1));
    const auto start = static_cast<std::size_t>(at.col - 1);
    if (start >= text.size() || (text[start] != '"' && text[start] != '\''))
        return false;
    const char quote = text[start];
    for (std::size_t i = start + 1; i < text.size(); ++i) {
        if (text[i] != quote)
            i += quote == '"' && text[i] == '\\' ? 1 : 0;
        else if (quote == '\'' && text.substr(i + 1, 1) == "'")
            ++i;
        else
            return false;
    }
    return true;
}

bool indented_with_tab(std::string_view line) {
    const auto end = line.find_first_not_of(" \t");
    return line.substr(0, end).find('\t') != std::string_view::npos;
}

std::string syntax_message(std::string_view text, const Position &at, const std::string &said) {
    const auto lines = split_lines(text);
    for (int line = at.line - 1; line <= at.line + 1; ++line)
        if (line >= 1 && line <= static_cast<int>(lines.size()) &&
            indented_with_tab(lines[static_cast<std::size_t>(line - 1)]))
            return fmt::format("bad YAML: line {} is indented with a tab: use spaces", line);
    std::string message = "bad YAML: " + said;
    if (said == "illegal map value")
        message += " (a text with ': ' in it must be in quotes)";
    else if (starts_with(said, "end of map") || starts_with(said, "end of seq"))
        message += " (indentation, or a bracket that is not closed)";
    else if (said == "unknown token")
        message += " (put a text that begins with a special character in quotes)";
    return message;
}

} // namespace

const YamlEntry *YamlNode::find(std::string_view key) const {
    for (const auto &entry : entries)
        if (entry.key == key)
            return &entry;
    return nullptr;
}

const char *YamlNode::kind_text() const {
    switch (kind) {
    case Kind::null: return "nothing";
    case Kind::scalar: return "a text";
    case Kind::list: return "a list";
    case Kind::map: return "a map";
    }
    INVARIANT(false);
}

YamlTree parse_yaml(std::string_view text) {
    YamlTree tree;
    if (starts_with(text, "\xef\xbb\xbf"))
        text.remove_prefix(3); // a byte order mark, as some editors write
    if (auto bad = bad_bytes(text)) {
        tree.findings.push_back(std::move(*bad));
        tree.complete = false;
        return tree;
    }
    Builder builder(tree);
    const auto stop = [&](const Position &at, const std::string &message) {
        builder.unwind();
        tree.complete = false;
        tree.findings.push_back({at, message});
    };
    try {
        std::istringstream input{std::string{text}};
        YAML::Parser parser(input);
        while (parser.HandleNextDocument(builder)) {
        }
        if (unclosed_quote(text, builder.last_scalar))
            stop(builder.last_scalar, "bad YAML: the quote that opens here is not closed");
    } catch (const Stop &why) {
        stop(why.at, why.message);
    } catch (const YAML::Exception &why) {
        stop(position(why.mark), syntax_message(text, position(why.mark), why.msg));
    } catch (const std::exception &why) {
        stop({}, fmt::format("bad YAML: {}", why.what()));
    }
    return tree;
}

} // namespace trainctl

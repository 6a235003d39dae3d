#include "experiment/placeholders.h"

#include "base/text.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace trainctl {

namespace {

enum class PieceKind { literal, placeholder, variable };

struct Piece {
    PieceKind kind;
    std::string text; // of a literal: as it is meant; else the name
    bool operator==(const Piece &) const = default;
};

bool is_lower(char c) { return (c >= 'a' && c <= 'z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return is_lower(c) || (c >= 'A' && c <= 'Z'); }

std::size_t run_length(std::string_view text, std::size_t at, char c) {
    std::size_t n = 0;
    while (at + n < text.size() && text[at + n] == c)
        ++n;
    return n;
}

std::size_t word_length(std::string_view text, std::size_t at, bool (*first)(char)) {
    std::size_t n = 0;
    while (at + n < text.size() && (first(text[at + n]) || (n > 0 && is_digit(text[at + n]))))
        ++n;
    return n;
}

// A candidate at `at`: `marks` braces (or dollars) on each side that count, after `before` that don't.
struct Candidate {
    bool variable = false;
    std::size_t before = 0, marks = 0;
    std::string_view word;
    std::size_t end = 0; // behind the braces that count
};

std::optional<Candidate> candidate_at(std::string_view text, std::size_t at) {
    Candidate found;
    if (const std::size_t dollars = run_length(text, at, '$'); dollars > 0) {
        const std::size_t word = at + dollars + 1;
        if (run_length(text, at + dollars, '{') != 1)
            return std::nullopt;
        const std::size_t length = word_length(text, word, is_letter);
        if (length == 0 || run_length(text, word + length, '}') == 0)
            return std::nullopt;
        found.variable = true;
        found.marks = dollars;
        found.word = text.substr(word, length);
        found.end = word + length + 1;
        return found;
    }
    const std::size_t left = run_length(text, at, '{');
    const std::size_t length = left > 0 ? word_length(text, at + left, is_lower) : 0;
    const std::size_t right = length > 0 ? run_length(text, at + left + length, '}') : 0;
    if (right == 0)
        return std::nullopt;
    found.marks = std::min(left, right);
    found.before = left - found.marks;
    found.word = text.substr(at + left, length);
    found.end = at + left + length + found.marks;
    return found;
}

std::string marked(const Candidate &found, std::size_t marks) {
    if (found.variable)
        return fmt::format("{}{{{}}}", std::string(marks, '$'), found.word);
    return std::string(marks, '{') + std::string{found.word} + std::string(marks, '}');
}

void add_literal(std::vector<Piece> &pieces, std::string_view text) {
    if (text.empty())
        return;
    if (pieces.empty() || pieces.back().kind != PieceKind::literal)
        pieces.push_back({PieceKind::literal, ""});
    pieces.back().text += text;
}

std::vector<Piece> parse_pieces(std::string_view text) {
    std::vector<Piece> pieces;
    for (std::size_t at = 0; at < text.size();) {
        const auto found = candidate_at(text, at);
        if (!found) {
            // A run of braces or dollars that is none is skipped whole: its tail must not become one.
            const std::size_t skip = std::max<std::size_t>(1, run_length(text, at, text[at] == '$' ? '$' : '{'));
            add_literal(pieces, text.substr(at, skip));
            at += skip;
            continue;
        }
        add_literal(pieces, text.substr(at, found->before));
        if (found->marks > 1)
            add_literal(pieces, marked(*found, found->marks - 1));
        else
            pieces.push_back(
                {found->variable ? PieceKind::variable : PieceKind::placeholder, std::string{found->word}});
        at = found->end;
    }
    return pieces;
}

struct Known {
    const char *name;
    unsigned bit;
};
constexpr std::array<Known, 6> known{{{"run", run_placeholder},
                                      {"attempt", attempt_placeholder},
                                      {"checkpoint", checkpoint_placeholder},
                                      {"checkpoint_step", checkpoint_placeholder},
                                      {"checkpoint_name", checkpoint_placeholder},
                                      {"checkpoint_dir", checkpoint_dir_placeholder}}};

std::string placeholder_problem(const std::string &name, unsigned allowed) {
    std::vector<std::string> names;
    for (const auto &one : known) {
        names.emplace_back(one.name);
        if (name == one.name && (allowed & one.bit) != 0)
            return "";
        if (name == one.name && one.bit == checkpoint_placeholder)
            return fmt::format("{{{}}} stands in checkpoint.resume_args only: the first attempt has no checkpoint", name);
        if (name == one.name)
            return fmt::format("{{{}}} can't be used here{}", name,
                               allowed == 0 ? "" : fmt::format(" (allowed: {})", placeholder_names(allowed)));
    }
    const std::string near = did_you_mean(name, names);
    return fmt::format("unknown placeholder {{{}}}: {}write {{{{{}}}}} for the text itself (known here: {})", name,
                       near.empty() ? "" : fmt::format("did you mean {{{}}}? Or ", near), name,
                       placeholder_names(allowed));
}

std::string variable_problem(const std::string &name, const Environment &environment) {
    std::vector<std::string> names;
    for (const auto &[one, value] : environment)
        names.push_back(one);
    const std::string near = did_you_mean(name, names);
    return fmt::format("${{{}}} is not set in your environment: {}export it, or write $${{{}}} for the text itself",
                       name, near.empty() ? "" : fmt::format("did you mean ${{{}}}? Or ", near), name);
}

std::string unparse(const std::vector<Piece> &pieces) {
    std::string out;
    for (const auto &piece : pieces)
        out += piece.kind == PieceKind::literal ? escape_placeholders(piece.text) : "{" + piece.text + "}";
    return out;
}

} // namespace

std::string placeholder_names(unsigned allowed) {
    std::vector<std::string> names;
    for (const auto &one : known)
        if ((allowed & one.bit) != 0)
            names.push_back(fmt::format("{{{}}}", one.name));
    if ((allowed & env_placeholder) != 0)
        names.emplace_back("${NAME}");
    return join(names, ", ");
}

ResolvedText resolve_text(std::string_view text, unsigned allowed, const Environment &environment) {
    ResolvedText out;
    std::vector<Piece> pieces;
    for (auto &piece : parse_pieces(text)) {
        if (piece.kind == PieceKind::literal) {
            add_literal(pieces, piece.text);
        } else if (piece.kind == PieceKind::variable) {
            const auto value = environment.find(piece.text);
            if (value == environment.end())
                out.problems.push_back(variable_problem(piece.text, environment));
            else
                add_literal(pieces, value->second);
        } else if (auto problem = placeholder_problem(piece.text, allowed); !problem.empty()) {
            out.problems.push_back(std::move(problem));
        } else {
            pieces.push_back(std::move(piece));
        }
    }
    if (!out.problems.empty())
        return out;
    if ((allowed & ~env_placeholder) == 0) {
        out.text = pieces.empty() ? "" : pieces.front().text;
        return out;
    }
    out.text = unparse(pieces);
    if (parse_pieces(out.text) != pieces)
        out.problems.emplace_back("the values of ${...} put braces around a placeholder, which can't be told from an "
                                  "escaped one: change one of them");
    return out;
}

Result<std::string> expand(std::string_view text, const std::map<std::string, std::string> &values) {
    std::string out;
    for (const auto &piece : parse_pieces(text)) {
        const auto value = values.find(piece.text);
        if (piece.kind == PieceKind::literal)
            out += piece.text;
        else if (piece.kind == PieceKind::placeholder && value != values.end())
            out += value->second;
        else
            return Error{ErrorKind::invalid,
                         fmt::format("no value for {}{{{}}}", piece.kind == PieceKind::variable ? "$" : "", piece.text),
                         valid_utf8(text), ""};
    }
    return out;
}

std::string escape_placeholders(std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
        const auto found = candidate_at(text, at);
        const std::size_t length =
            found ? found->before : std::max<std::size_t>(1, run_length(text, at, text[at] == '$' ? '$' : '{'));
        out += text.substr(at, length);
        if (found)
            out += marked(*found, found->marks + 1);
        at = found ? found->end : at + length;
    }
    return out;
}

} // namespace trainctl

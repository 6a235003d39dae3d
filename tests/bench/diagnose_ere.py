"""Patterns of failure rules (RE2's syntax, as far as Python's own reads it alike) as extended regular expressions of GNU grep."""
import re
from re import _constants as op
from re import _parser

CLASSES = {op.CATEGORY_DIGIT: "0-9", op.CATEGORY_SPACE: "[:space:]", op.CATEGORY_WORD: "[:alnum:]_"}
NEGATED = {op.CATEGORY_NOT_DIGIT: "0-9", op.CATEGORY_NOT_SPACE: "[:space:]", op.CATEGORY_NOT_WORD: "[:alnum:]_"}
PLACES = {op.AT_BEGINNING: "^", op.AT_END: "$", op.AT_BOUNDARY: r"\b", op.AT_NON_BOUNDARY: r"\B"}


def literal(code, any_case):
    char = chr(code)
    if any_case and char.isalpha():
        return f"[{char.lower()}{char.upper()}]"
    return "\\" + char if char in r".*+?^$|(){}[]" + "\\" else char


def bracket(items, any_case):
    negated, body, first, last = "", "", "", ""
    for kind, value in items:
        if kind is op.NEGATE:
            negated = "^"
        elif kind is op.LITERAL and chr(value) in "]^-":
            if chr(value) == "]":
                first = "]"
            else:
                last += chr(value)
        elif kind is op.LITERAL:
            char = chr(value)
            body += char.lower() + char.upper() if any_case and char.isalpha() else char
        elif kind is op.RANGE:
            low, high = map(chr, value)
            body += f"{low}-{high}" + (f"{low.swapcase()}-{high.swapcase()}" if any_case and low.isalpha() else "")
        elif kind is op.CATEGORY:
            body += CLASSES[value]
    return f"[{negated}{first}{body}{''.join(sorted(last, reverse=True))}]"  # "^-": neither first, so both are themselves


def repeated(least, most, tree, any_case):
    text = convert_tree(tree, any_case)
    if len(tree) != 1 or tree[0][0] is op.AT:
        text = f"({text})"
    sign = {(0, op.MAXREPEAT): "*", (1, op.MAXREPEAT): "+", (0, 1): "?"}.get((least, most))
    return text + (sign or (f"{{{least}}}" if least == most else f"{{{least},{'' if most is op.MAXREPEAT else most}}}"))


def convert_tree(tree, any_case):
    out = ""
    for kind, value in tree:
        if kind is op.LITERAL:
            out += literal(value, any_case)
        elif kind is op.NOT_LITERAL:
            out += bracket([(op.NEGATE, None), (op.LITERAL, value)], any_case)
        elif kind is op.ANY:
            out += "."
        elif kind is op.IN and len(value) == 1 and value[0][0] is op.CATEGORY and value[0][1] in NEGATED:
            out += f"[^{NEGATED[value[0][1]]}]"
        elif kind is op.IN:
            out += bracket(value, any_case)
        elif kind is op.AT:
            out += PLACES[value]
        elif kind is op.BRANCH:
            out += "(" + "|".join(convert_tree(branch, any_case) for branch in value[1]) + ")"
        elif kind is op.SUBPATTERN:
            out += "(" + convert_tree(value[3], any_case) + ")"
        elif kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            out += repeated(*value, any_case)
        else:
            raise ValueError(f"no extended regular expression for {kind}")
    return out


def convert(pattern):
    tree = _parser.parse(pattern, re.ASCII)
    return convert_tree(tree, bool(tree.state.flags & re.IGNORECASE))

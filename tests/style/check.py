"""Rules of this code base that a compiler does not check. Prints file:line for each finding; ends with 1 if any."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADER_LINES, SOURCE_LINES = 150, 400
# Longer than the limit, and why that is better than to cut it.
LONG = {
    "core/run/records.h": "the files of a run directory, all in one place",
    "tests/unit/agent/head_machine_test.cpp": "the head's state table, one case after another",
    "tests/unit/agent/stall_test.cpp": "traces of trainings, one after another",
}
AGENT = "cli/agent.cpp"  # linked statically: nothing that speaks SSH, resolves names or draws on terminals
AGENT_LAST_ROOM = "desk"
SLEEPERS = {"core/base/clock.cpp"}  # all others have a Clock
LIBSSH = re.compile(r"core/remote/ssh_\w+\.(cpp|h)$")

findings = []


def finding(path, line, text):
    findings.append(f"{path}:{line}: {text}")


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def files(*suffixes):
    for folder in ("cli", "core", "templates", "tests", "examples"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes and path.is_file() and "__pycache__" not in path.parts:
                yield path


def lines_of(path):
    return path.read_text(encoding="utf-8").splitlines()


def rooms():
    text = (ROOT / "core/CMakeLists.txt").read_text()
    return re.search(r"^set\(rooms ([a-z_ ]+)\)", text, re.M).group(1).split()


def check_includes(order):
    for path in files(".h", ".cpp"):
        name = name_of(path)
        for number, line in enumerate(lines_of(path), 1):
            if match := re.match(r'\s*#\s*include\s+"([^"]+)"', line):
                check_include(name, number, match.group(1), order)
            if re.match(r"\s*#\s*include\s+<libssh/", line) and not LIBSSH.match(name):
                finding(name, number, "only core/remote/ssh_* may use libssh")


def check_include(name, number, included, order):
    parts = name.split("/")
    room = included.split("/")[0] if "/" in included else None
    if parts[0] == "core":
        if included == "builtin_data.h":
            return
        if room not in order:
            return finding(name, number, f'"{included}" is in no room of core')
        if order.index(room) > order.index(parts[1]):
            return finding(name, number, f"{parts[1]} may not include {room}, a later room (core/CMakeLists.txt has their order)")
        if included.startswith("remote/ssh_") and not LIBSSH.match(name):
            return finding(name, number, "core may not include the part that speaks SSH: the agent has none")
    if name == AGENT and (included.startswith("remote/ssh_") or room in order[order.index(AGENT_LAST_ROOM) + 1:]):
        finding(name, number, f'the agent may not include "{included}"')
    if room in order and not (ROOT / "core" / included).is_file():
        finding(name, number, f'there is no core/{included}')


def check_cpp():
    banned = [
        (re.compile(r"std::regex|<regex>"), "RE2, never std::regex"),
        (re.compile(r"this_thread::sleep|\busleep\s*\(|\bnanosleep\s*\("), "sleep by a Clock"),
        (re.compile(r"\busing namespace std;"), "no using namespace std"),
        (re.compile(r"\b(system|popen)\s*\("), "run_command, never a shell of libc"),
    ]
    for path in files(".h", ".cpp"):
        name, lines = name_of(path), lines_of(path)
        limit = HEADER_LINES if path.suffix == ".h" and not name.startswith("tests/") else SOURCE_LINES
        if len(lines) > limit and name not in LONG:
            finding(name, len(lines), f"{len(lines)} lines, at most {limit}")
        if path.suffix == ".h":
            if not lines or not lines[0].startswith("//"):
                finding(name, 1, "a header begins with a comment that says what it decides or does")
            if "#pragma once" not in lines:
                finding(name, 1, "no #pragma once")
        for number, line in enumerate(lines, 1):
            code = re.sub(r'"(\\.|[^"\\])*"', '""', line).split("//")[0]
            for pattern, text in banned:
                allowed = name in SLEEPERS and "sleep" in text or name.startswith("tests/") and "shell" in text
                if pattern.search(code) and not allowed:
                    finding(name, number, text)


def check_text():
    todo = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
    machine = re.compile(r"""(^|[\s"'(=:`])/(work|root)/""")
    for path in files(".h", ".cpp", ".py", ".sh", ".yaml", ".md", ".txt", ".cmake"):
        name = name_of(path)
        if path.suffix in (".h", ".cpp", ".py") and not re.fullmatch(r"[a-z0-9_]+", path.stem):
            finding(name, 1, "file names are snake_case")
        for number, line in enumerate(lines_of(path), 1):
            if todo.search(line):
                finding(name, number, "no notes to self: do it, or put it in an issue")
            if machine.search(line):
                finding(name, number, "a path of one machine")


def check_architecture_page(order):
    page = ROOT / "core/README.md"
    lines = lines_of(page)
    for room in order:
        if (ROOT / "core" / room).is_dir() and not any(line.startswith(f"| `{room}`") for line in lines):
            finding(name_of(page), 1, f"the room {room} is missing")
    tests = "\n".join(path.read_text(encoding="utf-8") for path in files(".cpp", ".py") if name_of(path).startswith("tests/"))
    rules = 0
    inside = False
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            inside = "rules" in line.lower()
        cells = line.split(" | ")
        if not inside or not line.startswith("| ") or len(cells) != 3 or cells[0] == "| rule":
            continue
        rules += 1
        held_by = re.findall(r"`([^`]+)`", cells[2])
        if not held_by:
            finding(name_of(page), number, "no test holds this rule")
        for test in held_by:
            if f'"{test}"' not in tests and f"def {test}(" not in tests:
                finding(name_of(page), number, f"there is no test '{test}'")
        for source in re.findall(r"`([a-z_/]+\.(?:cpp|h))`", cells[1]):
            if not (ROOT / "core" / source).is_file():
                finding(name_of(page), number, f"there is no core/{source}")
    if rules < 12:
        finding(name_of(page), 1, f"only {rules} rules with their tests were found")


order = rooms()
check_includes(order)
check_cpp()
check_text()
check_architecture_page(order)
print("\n".join(findings) if findings else "style: nothing found")
sys.exit(1 if findings else 0)

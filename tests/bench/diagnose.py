#!/usr/bin/env python3
"""`trainctl diagnose`: how often it is right on real logs, its false alarms, and its speed beside `LC_ALL=C grep -E -f`.

Usage: diagnose.py [--logs FOLDER] [--healthy FILE...] [--gigabytes 2] [--runs 3] [--no-speed]

FOLDER has logs and index.tsv (file, cause, kind of restart). Healthy files are any logs of runs that did not fail. The
log for the speed is made: healthy lines of training loops, and now and then one of the made-up failures of the unit tests.
"""
import argparse
import collections
import csv
import json
import os
import random
import statistics
import subprocess
import tempfile
import time

import yaml

from diagnose_ere import convert

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TRAINCTL = os.environ.get("TRAINCTL", os.path.join(ROOT, "build/release/trainctl"))
STORIES = os.path.join(ROOT, "tests/unit/failure/stories.txt")
ACCEPTABLE = {  # actions that do no harm for a failure of this kind
    "resource": {"hand-over", "stop", "retry-once"},
    "transient": {"restart-in-place", "retry-once", "hand-over", "without-node"},
    "node-fault": {"without-node"},
    "deterministic": {"stop"},
    "n/a": {"none"},
}


def diagnose(*arguments):
    result = subprocess.run([TRAINCTL, "diagnose", "--json", *arguments], capture_output=True, text=True, timeout=600, check=True)
    return json.loads(result.stdout)


def accuracy(folder):
    index = os.path.join(folder, "index.tsv")
    if not os.path.exists(index):
        print(f"accuracy: not measured, there is no {index}")
        return
    class_of = {cause: one["class"] for one in diagnose("--classes")["classes"] for cause in one["causes"]}
    confusion, right, actions, unknown, alarms, logs = collections.Counter(), 0, 0, 0, 0, 0
    with open(index, encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            got, wanted = diagnose(os.path.join(folder, row["file"])), class_of[row["cause"]]
            logs += 1
            confusion[wanted, got["class"]] += 1
            right += got["class"] == wanted
            actions += got["action"] in ACCEPTABLE[row["restart"]]
            unknown += got["class"] == "unknown"
            alarms += wanted == "none" and got["class"] != "none"
            if got["class"] != wanted or got["action"] not in ACCEPTABLE[row["restart"]]:
                by = got["evidence"][0]["rule"] if got["evidence"] else "nothing"
                print(f"  {row['file']}: wanted {wanted} ({row['restart']}), got {got['class']}, {got['action']}, by {by}")
    print("confusion (cause -> diagnosis: logs)")
    for (wanted, got), count in sorted(confusion.items()):
        print(f"  {wanted} -> {got}: {count}{'' if wanted == got else '   <--'}")
    print(f"{logs} logs: class right {right} ({100 * right / logs:.1f} %), action right {actions} ({100 * actions / logs:.1f} %), "
          f"unknown {unknown}, false alarms {alarms}")


def stories():
    with open(STORIES, encoding="utf-8") as file:
        return [story.split("\n", 1) for story in ("\n" + file.read()).split("\n### ")[1:]]


def false_alarms(healthy):
    alarms = 0
    with tempfile.TemporaryDirectory() as folder:
        made = [text for cause, text in stories() if cause.strip() == "none"]
        paths = list(healthy)
        for number, text in enumerate(made):
            paths.append(os.path.join(folder, f"made-up-{number}.log"))
            with open(paths[-1], "w", encoding="utf-8") as file:
                file.write(text)
        for path in paths:
            got = diagnose(path)
            if got["class"] != "none":
                alarms += 1
                print(f"  false alarm: {path}: {got['class']} by {[clue['text'][:120] for clue in got['evidence'][:1]]}")
    print(f"healthy logs: {len(healthy)} given, {len(made)} made up: {alarms} false alarms")


def make_log(path, size):
    """Half of it Megatron's lines; what each loop prints most."""
    rng, step, written = random.Random(7), 0, 0
    broken = [text for _, text in stories()]
    with open(path, "w", encoding="utf-8") as file:
        while written < size:
            lines = []
            for _ in range(2000):
                step += 1
                lines.append(rng.choices(LINES, WEIGHTS)[0](step, rng.uniform(1.5, 9)))
            lines.append(rng.choice(broken).rstrip("\n"))
            written += file.write("\n".join(lines) + "\n")


LINES, WEIGHTS = zip(
    (lambda i, x: f" iteration {i:8d}/ 5000000 | consumed samples: {i * 2048:12d} | elapsed time per iteration (s): {x * 20:.2f} | learning "
                  f"rate: 4.298E-05 | global batch size:  2048 | lm loss: {x:.6E} | grad norm: {x / 9:.3f} | number of skipped iterations:   0 | "
                  "number of nan iterations:   0 |", 50),
    (lambda i, x: f"Epoch 3:  {i % 100}%|####      | {i}/5000000 [10:12<1:20:33,  3.9it/s, loss={x:.3f}, v_num=3]", 15),
    (lambda i, x: f"[2024-05-01 10:{i % 60:02d}:00,123] [INFO] [logging.py:96:log_dist] [Rank 0] step={i}, skipped=4, lr=[0.0001, 0.0001]", 15),
    (lambda i, x: f"n{i % 40}:5276:5696 [{i % 8}] NCCL INFO Channel {i % 24:02d}/0 : {i % 8}[101d0] -> {i % 7}[101c0] via P2P/IPC/read", 10),
    (lambda i, x: f"2024-05-01 10:{i % 60:02d}:01 INFO prefetched shard {i} of the validation set in {x:.2f} seconds, queue depth {i % 16}", 5),
    (lambda i, x: f"saving checkpoint at iteration {i} to /scratch/run/checkpoints/iter_{i:07d} (mp_rank_00_model_states.pt, 12.3 GB)", 5),
)


def timed(command, environment=None):
    """Seconds, peak memory in MB, and what was printed. grep ends with 1 where nothing matches."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise SystemExit(f"{command}: exit code {process.returncode}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime, text


def speed(gigabytes, runs):
    with open(os.path.join(ROOT, "templates/failure_rules.yaml"), encoding="utf-8") as file:
        rules = yaml.safe_load(file)["rules"]
    with tempfile.TemporaryDirectory() as folder:
        log, patterns = os.path.join(folder, "log"), os.path.join(folder, "patterns")
        make_log(log, int(gigabytes * 1e9))
        size = os.path.getsize(log) / 1e6
        with open(patterns, "w", encoding="utf-8") as file:
            file.writelines(convert(rule["pattern"]) + "\n" for rule in rules if "pattern" in rule)
        ours, peer = [], []
        c_locale = dict(os.environ, LC_ALL="C")
        for _ in range(runs):  # in turn, so that both meet the same load
            ours.append(timed([TRAINCTL, "diagnose", "--json", log]))
            peer.append(timed(["grep", "-c", "-E", "-f", patterns, log], c_locale))
        hits = json.loads(ours[0][3])["logs"][0]["matched_lines"], int(peer[0][3])
    print(f"{size:.0f} MB, {runs} runs in turn, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    for name, rows in (("trainctl diagnose", ours), ("LC_ALL=C grep -c -E -f", peer)):
        wall = statistics.median(row[0] for row in rows)
        print(f"  {name:24} {wall:6.2f} s  {size / wall:5.0f} MB/s  processor {statistics.median(row[2] for row in rows):6.2f} s  "
              f"peak {max(row[1] for row in rows):4.0f} MB")
    print(f"  lines that match a rule: {hits[0]} and {hits[1]}{'' if hits[0] == hits[1] else '   NOT EQUAL'}")
    if hits[0] != hits[1]:
        raise SystemExit(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", default=os.environ.get("TRAINCTL_FAILURE_LOGS", os.path.join(ROOT, "../shared/data/failure-logs")))
    parser.add_argument("--healthy", nargs="*", default=[])
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-speed", action="store_true")
    arguments = parser.parse_args()
    accuracy(arguments.logs)
    false_alarms(arguments.healthy)
    if not arguments.no_speed:
        speed(arguments.gigabytes, arguments.runs)


if __name__ == "__main__":
    main()

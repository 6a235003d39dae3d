#!/usr/bin/env python3
"""Checks the lineage file of a training: that it is one chain of steps without a gap, never trained twice at once.

A line is one JSON object: event (start, step, saved, end), attempt, generation, job, rank, pid, time, step, digest.
A set is all processes of one (attempt, job, generation): they train together.
"""
import collections
import hashlib
import json
import sys


def next_digest(digest, step, seed):
    """The chain of trainer.py."""
    return hashlib.sha256(f"{digest}/{step}/{seed}".encode()).hexdigest()


def read(path):
    """The lines as dictionaries, and what is wrong with the file."""
    entries, problems = [], []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                entries.append(json.loads(line))
            except ValueError:
                problems.append(f"line {number} is no JSON: {line[:60]!r}")
    return entries, problems


def set_of(entry):
    return entry["attempt"], entry["job"], entry["generation"]


def steps_of(entries):
    return [entry for entry in entries if entry["event"] == "step"]


def check_digests(entries, seed):
    """One digest for each step, whoever trained it and however often; with a seed, the right one."""
    problems, seen, expected = [], {}, {0: ""}
    for entry in entries:
        step, digest = entry["step"], entry["digest"]
        if entry["event"] == "start" and step == 0:
            continue
        if seen.setdefault(step, digest) != digest:
            problems.append(f"step {step} has two digests: attempt {entry['attempt']} rank {entry['rank']} differs")
    if seed is not None:
        for step in range(1, max(seen, default=0) + 1):
            expected[step] = next_digest(expected[step - 1], step, seed)
        problems += [f"step {step} has a digest outside the chain" for step in seen if seen[step] != expected[step]]
    return problems


def check_order(entries):
    """Each process goes step by step, and each set begins right behind something that was reached before."""
    problems, reached, last = [], 0, {}
    for entry in entries:
        key = (*set_of(entry), entry["rank"], entry["pid"])
        if entry["event"] == "start":
            last[key] = entry["step"]
        if entry["event"] != "step":
            continue
        step = entry["step"]
        before = last.get(key)
        if before is not None and step != before + 1:
            problems.append(f"attempt {entry['attempt']} rank {entry['rank']} went from step {before} to {step}")
        if step > reached + 1:
            problems.append(f"attempt {entry['attempt']} trained step {step}, but only {reached} had been reached")
        last[key] = step
        reached = max(reached, step)
    return problems


def check_alone(entries):
    """Sets follow each other: in the file, which is append-only, and by the clock."""
    problems, order, finished, newest = [], [], set(), collections.defaultdict(float)
    for entry in entries:
        key = set_of(entry)
        if not order or order[-1] != key:
            if key in finished:
                problems.append(f"attempt {key[0]} (job {key[1]}, generation {key[2]}) went on after "
                                f"attempt {order[-1][0]} (job {order[-1][1]}, generation {order[-1][2]}) had begun")
                continue
            if order:
                finished.add(order[-1])
                late = max(newest[other] for other in order)
                if entry["time"] < late:
                    problems.append(f"attempt {key[0]} began {late - entry['time']:.3f} s before the one before ended")
            order.append(key)
        newest[key] = max(newest[key], entry["time"])
    return problems


def check(path, total_steps, seed=None):
    """What is wrong with the training written in `path`, as a list of sentences; empty where it is sound."""
    entries, problems = read(path)
    trained = {entry["step"] for entry in steps_of(entries)}
    missing = [step for step in range(1, total_steps + 1) if step not in trained]
    if missing:
        problems.append(f"{len(missing)} steps were never trained, the first is {missing[0]}")
    beyond = [step for step in trained if step > total_steps]
    if beyond:
        problems.append(f"trained beyond the end, up to {max(beyond)}")
    return problems + check_digests(entries, seed) + check_order(entries) + check_alone(entries)


def resumes(path):
    """[(attempt, generation, step it began from)], in order, as rank 0 (or the lowest rank seen) tells."""
    found = {}
    for entry in read(path)[0]:
        if entry["event"] in ("start", "step"):
            begun = entry["step"] if entry["event"] == "start" else entry["step"] - 1
            found.setdefault(set_of(entry), begun)
    return [(attempt, generation, step) for (attempt, _, generation), step in found.items()]


if __name__ == "__main__":
    found = check(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
    print("\n".join(found) or "sound")
    sys.exit(1 if found else 0)

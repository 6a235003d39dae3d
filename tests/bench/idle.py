#!/usr/bin/env python3
"""What a run costs while its training computes: processor time and memory of everything that is not the training.

A real run on a sandbox of two nodes, whose ranks sleep. Processor time is the sum of /proc/<pid>/task/*/schedstat, in
nanoseconds, over the window, memory from smaps_rollup at its end (PSS shares what several processes map, RSS does not), wakeups as voluntary
context switches. srun is Slurm's own; the rest is ours.

Usage: idle.py [--seconds 120] [--nodes 2] [--prints 0]
"""
import argparse
import os
import time

from bench import machine, sandbox, wait_until
from runs import PYTHON

EXPERIMENT = """name: idle
cluster: {cluster}
resources: {{nodes: {nodes}, time: 2h}}
code: {{path: .}}
launch:
  per_node: 1
  command: [{python}, training.py]
recovery: {{standby: off}}
"""
TRAINING = """import os, time
lines = {prints}
print("started", flush=True)
while True:
    time.sleep(1 / lines if lines else 3600)
    print("a line of output", flush=True)
"""


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def arguments_of(pid):
    return read(f"/proc/{pid}/cmdline").split("\0")


def kind_of(arguments, home):
    """What a process of this run is; None for others."""
    program = os.path.basename(arguments[0])
    if not any(home in word for word in arguments):
        return None
    if program.startswith("trainctl-agent"):
        return {"run": "head", "node": "node agent", "guard": "guard"}.get(arguments[1])
    return "srun" if program == "srun" else None


class Sample:
    def __init__(self, pid):
        threads = [f"/proc/{pid}/task/{thread}" for thread in os.listdir(f"/proc/{pid}/task")]
        self.threads = len(threads)
        self.cpu_s = sum(int(read(thread + "/schedstat").split()[0]) for thread in threads) / 1e9
        self.wakeups = sum(self.switches(thread + "/status") for thread in threads)
        memory = dict(line.split(":", 1) for line in read(f"/proc/{pid}/smaps_rollup").splitlines() if ":" in line)
        self.rss_mib, self.pss_mib = (int(memory[name].split()[0]) / 1024 for name in ("Rss", "Pss"))

    @staticmethod
    def switches(path):
        return sum(int(line.split()[1]) for line in read(path).splitlines() if line.startswith("voluntary"))


def processes(home):
    out = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        arguments = arguments_of(name)
        kind = kind_of(arguments, home) if len(arguments) > 1 else None
        if kind:
            out[int(name)] = kind
    return out


def submit(box, options):
    folder = os.path.join(box.home.path, "idle")
    os.makedirs(folder)
    for name, text in [("experiment.yaml", EXPERIMENT.format(cluster=box.name, nodes=options.nodes, python=PYTHON)),
                       ("training.py", TRAINING.format(prints=options.prints))]:
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    return box.home.run("submit", os.path.join(folder, "experiment.yaml"), check=0).stdout.split()[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--prints", type=int, default=0, help="lines a second that each rank prints")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with sandbox("--nodes", str(options.nodes), "--gpus-per-node", "0") as box:
        run = submit(box, options)
        wait_until(lambda: box.home.run("logs", run).stdout.count("started") == options.nodes, what="the ranks' first line")
        time.sleep(10)  # what belongs to the start is over
        kinds = processes(box.home.path)
        before = {pid: Sample(pid) for pid in kinds}
        began = time.monotonic()
        time.sleep(options.seconds)
        window = time.monotonic() - began
        after = {pid: Sample(pid) for pid in kinds}
        box.home.run("cancel", run)
    print(f"{machine()}; load {load:.1f} and {os.getloadavg()[0]:.1f} before and after; {window:.0f} s")
    rows = [("what", "processes", "CPU s/h each", "wakeups/s each", "threads", "RSS MiB", "PSS MiB")]
    for kind in ("head", "node agent", "guard", "srun"):
        pids = [pid for pid in kinds if kinds[pid] == kind]
        mean = lambda value: sum(map(value, pids)) / max(1, len(pids))
        rows.append((kind, str(len(pids)), f"{mean(lambda pid: after[pid].cpu_s - before[pid].cpu_s) * 3600 / window:.1f}",
                     f"{mean(lambda pid: after[pid].wakeups - before[pid].wakeups) / window:.2f}",
                     f"{mean(lambda pid: after[pid].threads):.0f}", f"{mean(lambda pid: after[pid].rss_mib):.1f}",
                     f"{mean(lambda pid: after[pid].pss_mib):.1f}"))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


if __name__ == "__main__":
    main()

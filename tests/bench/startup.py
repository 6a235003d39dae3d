#!/usr/bin/env python3
"""Time and memory of commands that ask no cluster, beside the least that a tool in Python takes: `/usr/bin/python3 -c pass`.

Usage: startup.py [--runs 30]
"""
import argparse
import os
import time

from bench import ROOT, TRAINCTL, Home, Table


def measure(command, environment):
    """Seconds from fork to exit, and the peak resident memory in MiB."""
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        try:
            os.execvpe(command[0], command, environment)
        finally:
            os._exit(127)
    _, status, usage = os.wait4(pid, 0)
    took = time.perf_counter() - began
    if status != 0:
        raise SystemExit(f"{' '.join(command)} ended with wait status {status}")
    return took, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=30)
    runs = parser.parse_args().runs
    home = Home()
    try:
        # The example names the cluster `sandbox` and a template: what it refers to has to be there.
        folder = os.path.join(home.path, "config/trainctl")
        os.makedirs(folder)
        with open(os.path.join(folder, "clusters.yaml"), "w", encoding="utf-8") as file:
            file.write("clusters:\n  sandbox:\n    root: ~/trainctl\n")
        environment = dict(home.env, WANDB_API_KEY="none")
        every_key = [TRAINCTL, "check", os.path.join(ROOT, "examples/every-key.yaml"),
                     "--set", f"template={ROOT}/templates/slurm.sbatch.mustache", "--set", "recovery.rules="]
        ours = {"trainctl version": [TRAINCTL, "version"], "trainctl check every-key.yaml": every_key}
        peer = ["/usr/bin/python3", "-c", "pass"]
        results = {name: [] for name in [*ours, "peer"]}
        for _ in range(runs):  # interleaved: a busy moment of the machine meets all of them
            for name, command in [*ours.items(), ("peer", peer)]:
                results[name].append(measure(command, environment))
        times, memory = Table("ms"), Table("MiB")
        for name in ours:
            times.add(name, [1000 * took for took, _ in results[name]], [1000 * took for took, _ in results["peer"]])
            memory.add(name, [peak for _, peak in results[name]], [peak for _, peak in results["peer"]])
        times.print()
        memory.print()
        print("peer: /usr/bin/python3 -c pass")
    finally:
        home.remove()


if __name__ == "__main__":
    main()

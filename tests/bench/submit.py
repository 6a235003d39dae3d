#!/usr/bin/env python3
"""`trainctl submit` of an unchanged snapshot over SSH, beside `ssh host sbatch script`. Both make a connection each time.

Usage: submit.py [--runs 15]
"""
import argparse
import os
import subprocess
import time

from bench import ROOT, TRAINCTL, Table, sandbox

LATER = "--begin=now+1hour"  # the jobs wait: running ones would disturb the next measurement


def timed(command, environment):
    began = time.perf_counter()
    result = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
                            check=False)
    took = time.perf_counter() - began
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit code {result.returncode}\n{result.stderr}")
    return took


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    with sandbox("--nodes", "2", "--gpus-per-node", "0") as box:
        status = box.status()
        experiment = os.path.join(ROOT, "examples/char-gpt/experiment.yaml")
        submit = [TRAINCTL, "submit", experiment, "--set", f"cluster={box.name}", "--set", f"resources.sbatch=[{LATER}]"]
        script = os.path.join(box.home.path, "script.sbatch")
        with open(script, "w", encoding="utf-8") as file:
            file.write(box.home.run("render", experiment, "--set", f"cluster={box.name}", check=0).stdout)
        plain = ["ssh", "-F", status["ssh_config"], status["ssh_host"], "sbatch", "--nodes=2", LATER, script]
        timed(submit, box.home.env)  # the agent and the snapshot go there once
        timed(plain, box.home.env)
        ours, peer = [], []
        for _ in range(runs):
            ours.append(timed(submit, box.home.env))
            peer.append(timed(plain, box.home.env))
    table = Table("s")
    table.add("trainctl submit", ours, peer)
    table.print()
    print("peer: ssh -F CONFIG HOST sbatch SCRIPT")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""From a fault to the first line of the next training process, in one run on one sandbox, each way to get there.

The same training every time: a process that notes when it starts, and stays. Ours: a rank that is killed and restarted in
place; a node whose processes and slurmd are all killed at once, with a spare; the standby. The peers: the same command
forked again as soon as its death is seen; `while ! srun ...; do :; done` in one allocation; `scontrol requeue`.

Usage: recovery.py [-n 20] [--losses 20] [--requeues 3] [--scheduler tuned|default] [--site plain|...] [--node-timeout 10]
"""
import argparse
import os
import signal
import statistics
import subprocess
import sys
import time

from bench import Table, sandbox, wait_until
from runs import kill_at_once, of_node  # of tests/e2e, as bench.py found it

PYTHON = "/usr/bin/python3"
REST = 0.5  # seconds between a start and the next fault
TRAINING = """import os, time
line = f"{os.environ.get('RANK', os.environ.get('SLURM_PROCID', 0))} {os.getpid()} {os.environ.get('TRAINCTL_NODE', '-')} {time.monotonic()}\\n"
notes = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
os.write(notes, line.encode())
time.sleep(36000)
"""
EXPERIMENT = """name: {name}
cluster: {cluster}
resources: {{nodes: 2, spares: {spares}, time: 2h}}
code: {{path: .}}
environment:
  env: {{NOTES: "{notes}"}}
launch:
  per_node: 1
  command: [{python}, training.py]
recovery: {{in_place: {in_place}, standby: {standby}, max_attempts: 1000, no_progress_max: 1000, node_timeout: {node_timeout}s}}
"""


class Start:
    def __init__(self, line):
        rank, pid, self.node, when = line.split()
        self.rank, self.pid, self.when = int(rank), int(pid), float(when)


class Way:
    """One way to get going again: where its training notes its starts, and how a fault is made and measured."""

    def __init__(self, box, name, ranks=2):
        self.box, self.name, self.ranks = box, name, ranks
        self.folder = os.path.join(box.home.path, name)
        self.notes = os.path.join(self.folder, "notes")
        self.training = os.path.join(self.folder, "code/training.py")
        os.makedirs(os.path.dirname(self.training))
        with open(self.training, "w", encoding="utf-8") as file:
            file.write(TRAINING)

    def starts(self):
        if not os.path.exists(self.notes):
            return []
        with open(self.notes, encoding="utf-8") as file:
            return [Start(line) for line in file if line.endswith("\n")]

    def measure(self, runs, victims, strike=lambda pids: os.kill(pids[0], signal.SIGKILL), ready=lambda: True):
        """Seconds for each of `runs` faults. victims(starts of now) says what dies."""
        took = []
        for number in range(1, runs + 1):
            before = number * self.ranks
            wait_until(lambda: len(self.starts()) >= before and ready(), deadline=120, what=f"start {number} of {self.name}")
            time.sleep(REST)
            pids = victims(sorted(self.starts()[-self.ranks:], key=lambda start: start.rank))
            began = time.monotonic()
            strike(pids)
            wait_until(lambda: len(self.starts()) > before, deadline=120, what=f"the start after fault {number} of {self.name}")
            took.append(self.starts()[before].when - began)
        wait_until(lambda: len(self.starts()) >= (runs + 1) * self.ranks, what="the last start")
        print(f"{self.name}: {' '.join(f'{value:.3f}' for value in took)}", file=sys.stderr)
        return took

    def submit(self, in_place, standby="off", spares=0, node_timeout=10):
        path = os.path.join(self.folder, "code/experiment.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(EXPERIMENT.format(name=self.name, cluster=self.box.name, spares=spares, notes=self.notes, python=PYTHON,
                                         in_place=in_place, standby=standby, node_timeout=node_timeout))
        return self.box.home.run("submit", path, check=0).stdout.split()[0]


def last_rank(starts):
    return [starts[-1].pid]


def crash_in_place(box, options):
    way = Way(box, "crash")
    run = way.submit("on")
    took = way.measure(options.runs, last_rank)
    box.home.run("cancel", run)
    return took


def lost_node(box, options):
    way = Way(box, "lost")
    run = way.submit("on", spares=options.losses, node_timeout=options.node_timeout)
    slurmds = box.pids()

    def victims(starts):
        node = starts[-1].node  # the head is where rank 0 is
        return [slurmds[node], *of_node(box, node)]

    took = way.measure(options.losses, victims, lambda pids: kill_at_once(pids, missing_ok=True))
    box.home.run("cancel", run)
    return took


def standby(box, options):
    way = Way(box, "standby")
    run = way.submit("off", standby="on")

    def waits():
        lines = box.slurm("squeue", "-h", "-t", "PENDING", "-o", "%j").split()
        return any(line.startswith(f"tc-{run}-") for line in lines)

    took = way.measure(options.runs, last_rank, ready=waits)
    box.home.run("cancel", run)
    return took


def bare_fork(box, options):
    way = Way(box, "fork", ranks=1)
    loop = f"import subprocess\nwhile True:\n    subprocess.Popen([{PYTHON!r}, {way.training!r}]).wait()"
    with subprocess.Popen([PYTHON, "-c", loop], env=dict(os.environ, NOTES=way.notes)) as supervisor:
        try:
            return way.measure(options.runs, last_rank)
        finally:
            supervisor.kill()
            os.kill(way.starts()[-1].pid, signal.SIGKILL)


def srun_relaunch(box, options):
    way = Way(box, "srun")
    script = os.path.join(way.folder, "script.sbatch")
    with open(script, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/bash\nwhile ! srun --kill-on-bad-exit=1 {PYTHON} {way.training}; do :; done\n")
    job = box.slurm("sbatch", "--parsable", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--output=/dev/null",
                    f"--export=ALL,NOTES={way.notes}", script).strip()
    took = way.measure(options.runs, last_rank)
    box.slurm("scancel", job)
    return took


class Requeue:
    """A job of the same training that is requeued; several may wait at a time, two minutes each."""

    def __init__(self, box, number):
        self.way = Way(box, f"requeue{number}", ranks=1)
        self.job = box.slurm("sbatch", "--parsable", "--requeue", "--nodes=1", "--output=/dev/null",
                             f"--export=ALL,NOTES={self.way.notes}", f"--wrap=exec {PYTHON} {self.way.training}").strip()
        wait_until(lambda: len(self.way.starts()) == 1, what="the job's start")
        self.called = time.monotonic()
        box.slurm("scontrol", "requeue", self.job)

    def seconds(self):
        wait_until(lambda: len(self.way.starts()) == 2, deadline=300, what="the requeued job's start")
        self.way.box.slurm("scancel", self.job)
        return self.way.starts()[1].when - self.called


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", "--runs", type=int, default=20)
    parser.add_argument("--losses", type=int, default=None, help="of nodes; each takes the node's timeout (default: as -n)")
    parser.add_argument("--requeues", type=int, default=3, help="two minutes, all at the same time")
    parser.add_argument("--scheduler", choices=["tuned", "default"], default="tuned")
    parser.add_argument("--site", default=None, help="of `sandbox up`: strict has Slurm's defaults")
    parser.add_argument("--node-timeout", type=int, default=10, help="recovery.node_timeout of the lost node's run")
    options = parser.parse_args()
    options.losses = options.runs if options.losses is None else options.losses
    return options


def main():
    options = parse()
    up = ["--nodes", str(2 + options.losses + options.requeues), "--gpus-per-node", "0"]
    up += ["--site", options.site] if options.site else ["--scheduler", options.scheduler]
    load = [os.getloadavg()[0]]
    with sandbox(*up) as box:
        forked = bare_fork(box, options)
        crashed = crash_in_place(box, options)
        relaunched = srun_relaunch(box, options)
        load.append(os.getloadavg()[0])
        waiting = [Requeue(box, number) for number in range(options.requeues)]
        taken_over = standby(box, options)
        requeued = [job.seconds() for job in waiting]
        lost = lost_node(box, options) if options.losses else []
        load.append(os.getloadavg()[0])
    table = Table("s")
    table.add("crash in place, beside a bare fork", crashed, forked)
    table.add("crash in place, beside srun in a loop", crashed, relaunched)
    table.add("standby, beside scontrol requeue", taken_over, requeued)
    if lost:
        table.add("lost node with a spare", lost)
    table.print()
    print(f"load of the machine: {', '.join(f'{value:.1f}' for value in load)} (before, after the crashes, at the end)")
    goals = [("crash in place <= 1.5 x bare fork", statistics.median(crashed) <= 1.5 * statistics.median(forked)),
             ("crash in place < 1 s", max(crashed) < 1),
             ("crash in place never slower than srun in a loop", statistics.median(crashed) <= statistics.median(relaunched)
              and max(crashed) <= max(relaunched))]
    if lost:
        goals.append((f"lost node <= {options.node_timeout} s + 1 s", max(lost) <= options.node_timeout + 1))
    for name, reached in goals:
        print(f"{'reached' if reached else 'MISSED '}  {name}")


if __name__ == "__main__":
    main()

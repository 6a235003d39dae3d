#!/usr/bin/env python3
"""From a fault to the first line of the next training process, in one run on one sandbox, each way to get there.

The same training every time: a process that notes when it starts, and stays. Ours: a rank that is killed and restarted in
place; a node whose processes and slurmd are all killed at once, with a spare; the standby. The peers: a bare fork;
`while ! srun ...; do :; done` in one allocation; `scontrol requeue`.

A bare fork is a process in a job of its own that starts the ranks with fork and exec, their output into a file, waits for the
first death, kills the others, reaps them, and does the same again: no message, no disk, no lease. With one rank it stands
beside ours on one node; with two ranks, which then start at the same time on the same CPUs, beside ours on two.

All times count from kill(2), so they hold what the kernel needs to end a process. The crashes take turns, so that whatever
else the machine does meets each way alike.

Usage: recovery.py [-n 20] [--losses 20] [--requeues 3] [--scheduler tuned|default] [--site plain|...] [--node-timeout 10]
"""
import argparse
import os
import shlex
import signal
import statistics
import sys
import time

from bench import Table, sandbox, wait_until
from runs import kill_at_once, of_node  # of tests/e2e, as bench.py found it

PYTHON = "/usr/bin/python3"
REST = 0.5  # seconds between a start and the next fault
LOSSES_OF_A_RUN = 7
TRAINING = """import os, time
line = f"{os.environ.get('RANK', os.environ.get('SLURM_PROCID', 0))} {os.getpid()} {os.environ.get('TRAINCTL_NODE', '-')} {time.monotonic()}\\n"
notes = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
os.write(notes, line.encode())
time.sleep(36000)
"""
EXPERIMENT = """name: {name}
cluster: {cluster}
resources: {{nodes: {ranks}, spares: {spares}, time: 2h}}
code: {{path: .}}
environment:
  env: {{NOTES: "{notes}"}}
launch:
  per_node: 1
  command: [{python}, training.py]
recovery: {{in_place: {in_place}, standby: {standby}, max_attempts: 1000, no_progress_max: 1000, node_timeout: {node_timeout}s, backoff: 0s,
           avoid_for: 0s}}
"""


BARE_FORK = """import os, signal, sys
def start(command):
    pid = os.fork()
    if pid == 0:
        log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.execv(command[0], command)
    return pid
while True:
    ranks = {start(sys.argv[2:]) for _ in range(int(sys.argv[1]))}
    ranks.remove(os.wait()[0])
    for pid in ranks:
        os.kill(pid, signal.SIGKILL)
    for pid in ranks:
        os.waitpid(pid, 0)
"""


class Start:
    def __init__(self, line):
        rank, pid, self.node, when = line.split()
        self.rank, self.pid, self.when = int(rank), int(pid), float(when)


class Way:
    """One way to get going again: where its training notes its starts, and how a fault is made and measured."""

    def __init__(self, box, name, ranks=2):
        self.box, self.name, self.ranks = box, name, ranks
        self.took, self.cancel = [], lambda: None
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

    def fault(self, victims, strike=lambda pids: os.kill(pids[0], signal.SIGKILL), ready=lambda: True):
        """One more figure. victims(starts of now, by rank) says what dies."""
        before = (len(self.took) + 1) * self.ranks
        wait_until(lambda: len(self.starts()) >= before and ready(), deadline=120, what=f"the starts of {self.name}")
        time.sleep(REST)
        pids = victims(sorted(self.starts()[-self.ranks:], key=lambda start: start.rank))
        began = time.monotonic()
        strike(pids)
        wait_until(lambda: len(self.starts()) > before, deadline=120, what=f"the start after a fault of {self.name}")
        self.took.append(self.starts()[before].when - began)
        wait_until(lambda: len(self.starts()) >= before + self.ranks, what="the other starts")

    def end(self):
        self.cancel()
        print(f"{self.name}: {' '.join(f'{value:.3f}' for value in self.took)}", file=sys.stderr)
        return self.took

    def sbatch(self, *arguments):
        job = self.box.slurm("sbatch", "--parsable", "--output=/dev/null", f"--export=ALL,NOTES={self.notes}",
                             f"--chdir={self.folder}", *arguments).strip()
        self.cancel = lambda: self.box.slurm("scancel", job)
        return job

    def submit(self, in_place, standby="off", spares=0, node_timeout=10):
        path = os.path.join(self.folder, "code/experiment.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(EXPERIMENT.format(name=self.name, cluster=self.box.name, ranks=self.ranks, spares=spares, notes=self.notes, python=PYTHON,
                                         in_place=in_place, standby=standby, node_timeout=node_timeout))
        run = self.box.home.run("submit", path, check=0).stdout.split()[0]
        self.cancel = lambda: self.box.home.run("cancel", run)
        return run


def last_rank(starts):
    return [starts[-1].pid]


def crash_in_place(box, ranks):
    way = Way(box, f"crash{ranks}", ranks)
    way.submit("on")
    return way


def bare_fork(box, ranks):
    way = Way(box, f"fork{ranks}", ranks)
    way.sbatch("--nodes=1", "--wrap=exec " + shlex.join([PYTHON, "-c", BARE_FORK, str(ranks), PYTHON, way.training]))
    return way


def srun_relaunch(box):
    way = Way(box, "srun")
    script = os.path.join(way.folder, "script.sbatch")
    with open(script, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/bash\nwhile ! srun --kill-on-bad-exit=1 {PYTHON} {way.training}; do :; done\n")
    way.sbatch("--nodes=2", "--ntasks=2", "--ntasks-per-node=1", script)
    return way


def crashes(box, runs):
    ways = [bare_fork(box, 1), crash_in_place(box, 1), bare_fork(box, 2), crash_in_place(box, 2), srun_relaunch(box)]
    for _ in range(runs):
        for way in ways:
            way.fault(last_rank)
    return [way.end() for way in ways]


def lost_nodes(box, options):
    """Several runs: so many lost nodes in a row without a checkpoint end one."""
    took, slurmds, left = [], box.pids(), options.losses
    while left > 0:
        losses = min(left, LOSSES_OF_A_RUN)
        left -= losses
        way = Way(box, f"lost{left}")
        way.submit("on", spares=losses, node_timeout=options.node_timeout)
        lost = []

        def victims(starts):
            lost.append(starts[-1].node)  # the head is where rank 0 is
            return [slurmds[lost[-1]], *of_node(box, lost[-1])]

        for _ in range(losses):
            way.fault(victims, lambda pids: kill_at_once(pids, missing_ok=True))
        box.slurm("scontrol", "update", f"NodeName={','.join(lost)}", "State=DOWN", "Reason=lost")  # Slurm itself takes its time
        took += way.end()
    return took


def standby(box, runs):
    way = Way(box, "standby")
    run = way.submit("off", standby="on")

    def waits():
        lines = box.slurm("squeue", "-h", "-t", "PENDING", "-o", "%j").split()
        return any(line.startswith(f"tc-{run}-") for line in lines)

    for _ in range(runs):
        way.fault(last_rank, ready=waits)
    return way.end()


class Requeue:
    """A job of the same training that is requeued; several may wait at a time, two minutes each."""

    def __init__(self, box, number):
        self.way = Way(box, f"requeue{number}", ranks=1)
        job = self.way.sbatch("--requeue", "--nodes=1", f"--wrap=exec {PYTHON} {self.way.training}")
        wait_until(lambda: len(self.way.starts()) == 1, what="the job's start")
        self.called = time.monotonic()
        box.slurm("scontrol", "requeue", job)

    def seconds(self):
        wait_until(lambda: len(self.way.starts()) == 2, deadline=300, what="the requeued job's start")
        self.way.cancel()
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
    # Those that crash have seven nodes at a time, the node that is lost two and a spare for each loss.
    nodes = max(8, 2 + options.losses) + options.requeues
    up = ["--nodes", str(nodes), "--gpus-per-node", "0"]
    up += ["--site", options.site] if options.site else ["--scheduler", options.scheduler]
    table = Table("s")
    with sandbox(*up) as box:
        fork1, crash1, fork2, crash2, relaunched = crashes(box, options.runs)
        waiting = [Requeue(box, number) for number in range(options.requeues)]
        taken_over = standby(box, options.runs)
        requeued = [job.seconds() for job in waiting]
        lost = lost_nodes(box, options) if options.losses else []
    table.add("crash in place, one rank, beside a bare fork of it", crash1, fork1)
    table.add("crash in place, two nodes, beside a bare fork of both ranks", crash2, fork2)
    table.add("crash in place, two nodes, beside srun in a loop", crash2, relaunched)
    table.add("standby, beside scontrol requeue", taken_over, requeued)
    if lost:
        table.add("lost node with a spare", lost)
    table.print()
    goals = [("one rank: crash in place <= 1.5 x bare fork", statistics.median(crash1) <= 1.5 * statistics.median(fork1)),
             ("two nodes: crash in place <= 1.5 x bare fork", statistics.median(crash2) <= 1.5 * statistics.median(fork2)),
             ("crash in place < 1 s", max(crash1 + crash2) < 1),
             ("crash in place never slower than srun in a loop", statistics.median(crash2) <= statistics.median(relaunched)
              and max(crash2) <= max(relaunched))]
    if lost:
        goals.append((f"lost node <= {options.node_timeout} s + 1 s", max(lost) <= options.node_timeout + 1))
    for name, reached in goals:
        print(f"{'reached' if reached else 'MISSED '}  {name}")


if __name__ == "__main__":
    main()

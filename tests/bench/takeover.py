#!/usr/bin/env python3
"""From the end of one training process to the first line of the next: the standby, beside `scontrol requeue`.

The same training script in both cases. Ours: from the line that the training writes before it exits with 1, to the
first line of the next attempt's training. The peer's: from the call of `scontrol requeue` to the first line after it.

Usage: takeover.py [--runs 10] [--requeues 1] [--scheduler tuned|default|both]
"""
import argparse
import os
import time

from bench import Table, sandbox, wait_until

TRAINING = r"""#!/bin/bash
# Notes when it starts and ends. Under trainctl it fails as soon as the standby is in the queue.
now() { echo "$1 $EPOCHREALTIME" >>"$NOTES"; }
now start
if [ -z "$TRAINCTL_ATTEMPT" ]; then
    exec sleep 3600
fi
[ "$TRAINCTL_ATTEMPT" -lt "$LAST" ] || exit 0
next=$(printf '../attempts/%03d/job.json' $((TRAINCTL_ATTEMPT + 1))) # from work/ in the run's folder
until [ -e "$next" ]; do sleep 0.05; done
sleep 1 # the queue is at rest
now end
exit 1
"""

EXPERIMENT = """name: takeover
cluster: {cluster}
resources: {{nodes: 1, time: 1h}}
code: {{path: .}}
environment:
  env: {{NOTES: "{notes}", LAST: "{last}"}}
launch:
  command: [bash, training.sh]
recovery: {{in_place: off, standby: on, max_attempts: {last}, no_progress_max: {last}}}
"""


def notes_of(path):
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [(word, float(when)) for word, when in map(str.split, file)]


def starts(path):
    return [when for word, when in notes_of(path) if word == "start"]


def takeovers(box, runs):
    folder = os.path.join(box.home.path, "takeover")
    os.makedirs(folder)
    notes = os.path.join(box.home.path, "takeover.notes")
    with open(os.path.join(folder, "training.sh"), "w", encoding="utf-8") as file:
        file.write(TRAINING)
    with open(os.path.join(folder, "experiment.yaml"), "w", encoding="utf-8") as file:
        file.write(EXPERIMENT.format(cluster=box.name, notes=notes, last=runs + 1))
    box.home.run("submit", os.path.join(folder, "experiment.yaml"), check=0)
    wait_until(lambda: len(starts(notes)) == runs + 1, deadline=60 + 30 * runs, what="the last attempt's start")
    times = notes_of(notes)
    return [after[1] - before[1] for before, after in zip(times, times[1:]) if (before[0], after[0]) == ("end", "start")]


class Requeue:
    """A job of the same script that is requeued; several may wait at a time."""

    def __init__(self, box, number):
        self.box = box
        self.notes = os.path.join(box.home.path, f"requeue{number}.notes")
        script = os.path.join(box.home.path, "takeover/training.sh")
        self.job = box.slurm("sbatch", "--parsable", "--requeue", "--nodes=1", "--output=/dev/null",
                             f"--export=ALL,NOTES={self.notes}", script).strip()
        wait_until(lambda: starts(self.notes), what="the job's start")
        self.called = time.time()
        box.slurm("scontrol", "requeue", self.job)

    def seconds(self):
        wait_until(lambda: len(starts(self.notes)) == 2, deadline=300, what="the requeued job's start")
        return starts(self.notes)[1] - self.called


def measure(scheduler, runs, requeues):
    with sandbox("--nodes", "4", "--gpus-per-node", "0", "--scheduler", scheduler) as box:
        ours = takeovers(box, runs)
        waiting = [Requeue(box, number) for number in range(requeues)]
        return ours, [job.seconds() for job in waiting]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--requeues", type=int, default=1, help="each takes two minutes, all at the same time")
    parser.add_argument("--scheduler", choices=["tuned", "default", "both"], default="both")
    options = parser.parse_args()
    table = Table("s")
    for scheduler in ["tuned", "default"] if options.scheduler == "both" else [options.scheduler]:
        table.add(f"takeover, {scheduler} scheduler", *measure(scheduler, options.runs, options.requeues))
    table.print()
    print("peer: scontrol requeue of the same script")


if __name__ == "__main__":
    main()

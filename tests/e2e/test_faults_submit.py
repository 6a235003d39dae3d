"""A submit that dies anywhere, or whose link is cut: the same command again goes on with the same run, and no set of
ranks ever trains beside another."""

import os
import shutil
import subprocess
import tempfile
import threading
import unittest

from harness import TRAINCTL
from runs import RunCase, write

# In the PATH of the cluster's profile before Slurm's own: kills its caller, which is the desk, before or behind the
# real sbatch, once. The next call only passes on.
SBATCH = """#!/bin/sh
case " $* " in *--job-name=tc-{name}-*) ;; *) exec /usr/bin/sbatch "$@" ;; esac
if mkdir {folder}/{when} 2>/dev/null; then
    [ {when} = before ] || /usr/bin/sbatch "$@"
    {action}
    exit 1
fi
exec /usr/bin/sbatch "$@"
"""
KILL_THE_DESK = "kill -9 $PPID"
# The desk's ancestor that is an sshd: the link is gone, the desk lives on.
CUT_THE_LINK = """pid=$PPID
    while [ "$(cat /proc/$pid/comm)" != sshd ]; do pid=$(awk '{print $4}' /proc/$pid/stat); done
    kill -9 $pid"""


class Watcher(threading.Thread):
    """Looks at the queue all the time: no name of a job may ever be there twice, not even waiting."""

    def __init__(self, case, prefix):
        super().__init__(daemon=True)
        self.case, self.prefix, self.done, self.twice = case, prefix, threading.Event(), []
        self.looks, self.problem = 0, None

    def run(self):
        try:
            while not self.done.wait(0.1):
                names = self.case.sandbox.slurm("squeue", "-h", "-o", "%j", "-t", "PENDING,RUNNING").split()
                names = [name for name in names if self.prefix in name]
                self.twice += sorted({name for name in names if names.count(name) > 1})
                self.looks += 1
        except Exception as problem:  # a watcher that saw nothing proves nothing
            self.problem = problem


class SubmitTest(RunCase):
    def wrapped(self, name, wrapper):
        """A cluster whose sbatch is this wrapper."""
        folder = tempfile.mkdtemp(prefix=f"tc-wrap-{name}-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        write(f"{folder}/sbatch", wrapper.replace("{folder}", folder).replace("{name}", name), 0o755)
        return self.profile(name, {"PATH": f"{folder}:/usr/bin:/bin"})

    def finish(self, run, watcher=None):
        run.wait_end()
        if watcher:
            watcher.done.set()
            watcher.join()
            self.assertEqual(watcher.twice, [])
        self.check_lineage(run)
        self.assertEqual(self.resumes(run), [(1, 0)])
        self.check_nothing_left(run)

    def submitted(self, run):
        """Ids of runs of this name on the cluster."""
        return [name for name in self.all_runs() if name.startswith(run.name + "-") and name not in self.before]

    def all_runs(self):
        folder = f"{self.sandbox.root()}/runs"
        return os.listdir(folder) if os.path.exists(folder) else []

    def setUp(self):
        self.before = self.all_runs()

    def test_killed_after_any_time(self):
        watcher = Watcher(self, "tc-killed-at-")
        watcher.start()
        runs = []
        for wait in (0.02, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8):
            run = self.make(f"killed-at-{int(wait * 1000)}", steps=15, every=5)
            with subprocess.Popen([TRAINCTL, "submit", run.file], env=self.sandbox.home.env, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL) as submit:
                try:
                    submit.wait(timeout=wait)
                except subprocess.TimeoutExpired:
                    submit.kill()
            finished = submit.returncode == 0
            if not finished:
                run.submit()
            runs.append((run, finished))
        for run, finished in runs:
            ids = self.submitted(run)
            self.assertEqual(len(ids), 1, (run.name, finished))
            run.id = ids[0]
            self.finish(run)
        watcher.done.set()
        watcher.join()
        self.assertEqual(watcher.twice, [])

    def try_wrapped(self, when, action, name):
        cluster = self.wrapped(name, SBATCH.replace("{when}", when).replace("{action}", action))
        run = self.make(name, steps=20, cluster=cluster)
        watcher = Watcher(self, f"tc-{name}-")
        watcher.start()
        first = run.command("submit", run.file)
        self.assertEqual(first.returncode, 4, first.stderr)
        self.assertIn("nothing is submitted twice", first.stderr)
        second = run.submit()
        self.assertIn("going on with", second.stderr)
        self.assertEqual(self.submitted(run), [run.id])
        self.finish(run, watcher)

    def test_the_desk_killed_before_sbatch(self):
        self.try_wrapped("before", KILL_THE_DESK, "desk-before")

    def test_the_desk_killed_behind_sbatch(self):
        self.try_wrapped("after", KILL_THE_DESK, "desk-after")

    def test_the_link_cut_right_behind_sbatch(self):
        self.try_wrapped("after", CUT_THE_LINK, "link-after")

    def test_a_resume_goes_on_with_it_as_well(self):
        cluster = self.wrapped("resumed", SBATCH.replace("{when}", "after").replace("{action}", KILL_THE_DESK))
        run = self.make("resumed", steps=20, cluster=cluster)
        run.command("submit", run.file, check=4)
        run.id = self.submitted(run)[0]
        run.command("resume", run.id, check=0)
        self.finish(run)


if __name__ == "__main__":
    unittest.main()

"""A submit that dies behind any of its effects, or whose link is cut: the same command again goes on with the same run,
and no set of ranks ever trains beside another."""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import unittest

from harness import TRAINCTL, wait_until
from runs import RUN_LIMIT, RunCase, alive, children, command_name, kill, parents, write

# A command of Slurm that stops once where the test wants it, tells who called it, and goes on when the point is removed.
STOPPING = """#!/bin/sh
stop() {
    [ -e {folder}/{command}.$1 ] && mkdir {folder}/{command}.$1.there 2>/dev/null || return 0
    echo $PPID >{folder}/{command}.$1.there/new
    mv {folder}/{command}.$1.there/new {folder}/{command}.$1.there/pid
    while [ -e {folder}/{command}.$1 ]; do sleep 0.02; done
}
stop before
{real} "$@"
code=$?
stop after
exit $code
"""


class Gates:
    """Points where a desk of this cluster stops: `scontrol.before`, the first command that it runs, before anything of
    the run is made; `sbatch.before` and `sbatch.after`."""

    def __init__(self, case, name, **more):
        self.folder = tempfile.mkdtemp(prefix=f"tc-gate-{name}-")
        case.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        for command in ("scontrol", "sbatch", "squeue"):
            text = STOPPING.replace("{folder}", self.folder).replace("{command}", command)
            write(f"{self.folder}/{command}", text.replace("{real}", shutil.which(command)), 0o755)
        self.cluster = case.profile(name, {"PATH": f"{self.folder}:/usr/bin:/bin"}, **more)

    def close(self, *points):
        for point in points:
            write(f"{self.folder}/{point}", "")

    def open(self, *points):
        for point in points or [name for name in os.listdir(self.folder) if name.endswith((".before", ".after"))]:
            os.remove(f"{self.folder}/{point}")

    def wait(self, point):
        """Until somebody stands there; pid of the desk."""
        path = f"{self.folder}/{point}.there/pid"
        wait_until(lambda: os.path.exists(path), RUN_LIMIT, f"somebody at {point}")
        with open(path, encoding="utf-8") as file:
            return int(file.read())


class Watcher(threading.Thread):
    """Looks at the queue all the time: no name of a job may ever be there twice, not even waiting."""

    def __init__(self, case, prefix):
        super().__init__(daemon=True)
        self.case, self.prefix, self.done, self.twice = case, prefix, threading.Event(), []
        self.looks, self.problem = 0, None

    def run(self):
        try:
            while not self.done.wait(0.2):
                names = self.case.sandbox.slurm("squeue", "-h", "-o", "%j", "-t", "PENDING,RUNNING").split()
                names = [name for name in names if name.startswith(self.prefix)]
                self.twice += sorted({name for name in names if names.count(name) > 1})
                self.looks += bool(names)
        except Exception as problem:  # a watcher that saw nothing proves nothing
            self.problem = problem


# What a submit makes, in this order.
EFFECTS = ("remembered", "run", "experiment", "run.json", "attempt", "intent", "job", "job.json")
RUN_FILES = {"run": "", "experiment": "experiment.yaml", "run.json": "run.json", "attempt": "attempts/001",
             "intent": "attempts/001/intent.json", "job.json": "attempts/001/job.json"}


def kill_tree(pid):
    """The process and all below it. It can start no other one in between."""
    kill(pid, signal.SIGSTOP)
    for child in children(pid):
        kill_tree(child)
    kill(pid)


def spin_until(condition, process):
    """Without a pause between two looks: what is waited for is over in a moment."""
    while not condition():
        if process.poll() is not None:
            raise AssertionError(f"submit ended with {process.returncode} before that")


class SubmitTest(RunCase):
    def start_submit(self, run):
        error = self.enterContext(open(f"{run.folder}/submit.err", "w", encoding="utf-8"))
        out = self.enterContext(open(f"{run.folder}/submit.out", "w", encoding="utf-8"))
        submit = subprocess.Popen([TRAINCTL, "submit", run.file], stdout=out, stderr=error, env=run.home.env)
        self.addCleanup(submit.wait)
        self.addCleanup(submit.kill)
        return submit

    def remembered(self, run):
        """The id that this machine keeps of a submit without an answer."""
        folder = f"{run.home.env['XDG_STATE_HOME']}/trainctl/submitting"
        for name in os.listdir(folder) if os.path.exists(folder) else []:
            try:
                with open(f"{folder}/{name}", encoding="utf-8") as file:
                    text = file.read()
            except FileNotFoundError:  # another test's
                continue
            if run.is_id(text) and text not in run.before and not name.endswith(".tmp"):
                return text
        return None

    def seen(self, run):
        """Which of its effects are there."""
        run.id = run.id or self.remembered(run)
        found = {"remembered"} if run.id else set()
        if run.id and os.path.exists(run.dir):
            found |= {effect for effect, path in RUN_FILES.items() if os.path.exists(f"{run.dir}/{path}")}
            found |= {"job"} if run.jobs("-t", "all") else set()
        return found

    def check_seen(self, run, last):
        """All effects up to this one, and none of those behind it. A job that runs writes its own job.json."""
        seen = self.seen(run) - ({"job.json"} if last == "job" else set())
        self.assertEqual(seen, set(EFFECTS[:EFFECTS.index(last) + 1]), run.name)

    def again(self, *runs):
        """The same command once more for each."""
        for run, second in [(run, self.start_submit(run)) for run in runs]:
            self.assertEqual(second.wait(timeout=RUN_LIMIT), 0)
            self.assertIn(f"going on with {run.id}", self.said(run))

    def said(self, run):
        with open(f"{run.folder}/submit.err", encoding="utf-8") as file:
            return file.read()

    def finish(self, run):
        self.assertEqual(run.ids(), [run.id])
        run.wait_end()
        self.check_lineage(run)
        self.assertEqual(self.resumes(run), [(1, 0)])
        self.check_nothing_left(run)

    def watch(self, prefix):
        watcher = Watcher(self, f"tc-{prefix}")
        watcher.start()
        self.addCleanup(watcher.done.set)
        return watcher

    def check_watched(self, watcher):
        watcher.done.set()
        watcher.join()
        self.assertIsNone(watcher.problem)
        self.assertGreater(watcher.looks, 0)
        self.assertEqual(watcher.twice, [])

    def case(self, name, points, **keys):
        gates = Gates(self, name, **({"root": keys["root"]} if "root" in keys else {}))
        gates.close(*points)
        run = self.make(name, **{"steps": 15, "every": 5, "cluster": gates.cluster, **keys})
        return gates, run, self.start_submit(run)

    def killed_at(self, who, point, last):
        """A submit whose client, or whose desk and all below it, dies while the desk stands at this point."""
        # Where there is a job already it trains meanwhile, and must not be at its end before somebody asks for it.
        gates, run, submit = self.case(f"{who}-at-{point.replace('.', '-')}", [point], **({"steps": 200} if last == "job" else {}))
        desk = gates.wait(point)
        if who == "client":
            submit.kill()
            submit.wait()
        else:
            kill_tree(desk)
            self.assertEqual(submit.wait(timeout=RUN_LIMIT), 4)
        self.check_seen(run, last)
        gates.open()  # a desk whose client is gone goes on alone, beside the next one
        return run

    def desk_killed_behind(self, effect):
        """A submit whose desk dies as soon as this effect is to be seen, and surely before sbatch."""
        gates, run, submit = self.case(f"desk-behind-{effect.replace('.', '-')}", ["scontrol.before", "sbatch.before"])
        desk = gates.wait("scontrol.before")
        run.id = self.remembered(run)
        gates.open("scontrol.before")
        spin_until(lambda: os.path.exists(f"{run.dir}/{RUN_FILES[effect]}"), submit)
        kill_tree(desk)
        self.assertEqual(submit.wait(timeout=RUN_LIMIT), 4)
        seen = self.seen(run)
        self.assertIn(effect, seen)
        self.assertFalse(seen & {"job", "job.json"}, seen)
        gates.open()
        return run

    def desk_killed_behind_the_answer_of_sbatch(self):
        """Job and job.json are there, and nobody was told; or the desk was faster than the kill, and somebody was."""
        gates, run, submit = self.case("desk-behind-job-json", ["sbatch.after"])
        desk = gates.wait("sbatch.after")
        run.id = self.remembered(run)
        gates.open()
        spin_until(lambda: os.path.exists(f"{run.dir}/attempts/001/job.json"), submit)
        kill_tree(desk)
        told = submit.wait(timeout=RUN_LIMIT) == 0
        self.assertTrue(told or self.seen(run) >= {"job", "job.json"} or run.entries())
        return None if told else run

    def client_killed_behind(self, effect, is_there, **keys):
        _, run, submit = self.case(f"client-behind-{effect}", [], **keys)
        spin_until(is_there(run), submit)
        submit.kill()
        submit.wait()
        self.assertIn("remembered", self.seen(run))
        return run

    def folder(self, prefix):
        path = tempfile.mkdtemp(prefix=prefix)
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)
        return path

    def test_killed_behind_each_effect(self):
        watcher = self.watch("client-behind-")
        code, root = self.folder("tc-code-"), self.folder("tc-root-")
        with open(f"{code}/weights", "wb") as file:  # takes a moment to send
            file.write(os.urandom(40 << 20))
        there = lambda name: os.listdir(f"{root}/{name}") if os.path.exists(f"{root}/{name}") else []  # noqa: E731
        runs = [self.client_killed_behind("remembered", lambda run: lambda: self.remembered(run)),
                self.client_killed_behind("agent", lambda run: lambda: there("bin"), root=root),
                self.client_killed_behind("code", lambda run: lambda: there("code"), root=f"{root}", code__path=code)]
        self.assertFalse([name for name in there("code") if name.endswith(".tar")])
        for run in runs[1:]:
            self.assertEqual(self.seen(run), {"remembered"})
        self.again(*runs)
        for run in runs:
            self.finish(run)
        self.check_watched(watcher)

    def test_killed_as_it_forgets_that_it_has_no_answer(self):
        gates, run, submit = self.case("forgetful", ["sbatch.after"])
        gates.wait("sbatch.after")
        run.id = self.remembered(run)
        gates.open()
        while self.remembered(run) and submit.poll() is None:
            pass
        submit.kill()
        submit.wait()
        with open(f"{run.folder}/submit.out", encoding="utf-8") as file:
            self.assertEqual(file.read().split(), [run.id])  # told before: nobody needs to ask again
        self.finish(run)

    def test_killed_at_each_command_of_slurm(self):
        watcher = self.watch("client-at-")
        runs = [self.killed_at("client", "scontrol.before", "remembered"),
                self.killed_at("client", "sbatch.before", "intent"),
                self.killed_at("client", "sbatch.after", "job")]
        self.again(*runs)
        for run in runs:
            self.finish(run)
        self.check_watched(watcher)

    def test_the_desk_killed_at_each_command_of_slurm(self):
        watcher = self.watch("desk-at-")
        runs = [self.killed_at("desk", "scontrol.before", "remembered"),
                self.killed_at("desk", "sbatch.before", "intent"),
                self.killed_at("desk", "sbatch.after", "job")]
        self.again(*runs)
        for run in runs:
            self.finish(run)
        self.check_watched(watcher)

    def test_the_desk_killed_behind_each_of_its_files(self):
        watcher = self.watch("desk-behind-")
        runs = [self.desk_killed_behind(effect) for effect in ("run", "experiment", "run.json", "attempt", "intent")]
        runs.append(self.desk_killed_behind_the_answer_of_sbatch())
        runs = [run for run in runs if run]
        self.again(*runs)
        for run in runs:
            self.finish(run)
        self.check_watched(watcher)

    def test_two_of_them_at_a_time(self):
        watcher = self.watch("two-")
        gates, run, first = self.case("two", ["sbatch.before"])
        gates.wait("sbatch.before")
        first.kill()
        self.check_seen(run, "intent")
        gates.close("squeue.before")
        second = self.start_submit(run)
        gates.wait("squeue.before")  # it looks for the job that the first one's desk has not made yet
        self.assertEqual(run.jobs(), {})
        gates.open()
        self.assertEqual(second.wait(timeout=RUN_LIMIT), 0)
        self.finish(run)
        self.check_watched(watcher)

    def test_the_link_cut_right_behind_sbatch(self):
        watcher = self.watch("cut-")
        gates, run, submit = self.case("cut", ["sbatch.after"])
        desk = gates.wait("sbatch.after")
        # What serves this link, and nothing below it.
        kill(next(pid for pid in parents(desk) if command_name(pid) == "sshd"))
        self.assertEqual(submit.wait(timeout=RUN_LIMIT), 4)
        self.assertIn("nothing is submitted twice", self.said(run))
        self.check_seen(run, "job")
        self.assertTrue(alive(desk))
        gates.open()
        self.again(run)
        self.finish(run)
        self.check_watched(watcher)

    def test_a_resume_goes_on_with_it_as_well(self):
        run = self.killed_at("desk", "sbatch.after", "job")
        run.command("resume", run.id, check=0)
        self.finish(run)


if __name__ == "__main__":
    unittest.main()

"""A soak: several runs on a real Slurm, and faults of all kinds at random for TRAINCTL_SOAK_MINUTES. Each run must end
finished, with every step trained from the right checkpoint and no two sets of ranks beside each other.

TRAINCTL_SOAK_SEED chooses the same faults again, in the same order; what they meet depends on the moment.
"""

import os
import random
import time
import unittest

from harness import COMMAND_LIMIT, Home, Sandbox, flavour_options, wait_until
from runs import RunCase, Waiting, alive, kill, kill_at_once, of_node

MINUTES = float(os.environ.get("TRAINCTL_SOAK_MINUTES", "60"))
SEED = int(os.environ.get("TRAINCTL_SOAK_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
RUNS = 3               # beside each other
STEPS = 400            # 20 s of training where nothing happens
PAUSE = (0.5, 6.0)     # seconds between two faults
NODE_BACK = (3, 25)    # seconds until a lost node is back: sooner and later than Slurm notices
LOOK_EVERY = 10        # seconds: somebody calls `status`, as `submit --wait` does
END_LIMIT = 300        # seconds until a run ends that nothing happens to any more
FAULTS = {"rank": 5, "head": 3, "standby": 2, "stop": 1, "submit": 1, "node": 1}


class Soak(RunCase):
    @classmethod
    def setUpClass(cls):
        home = Home()
        cls.addClassCleanup(home.remove)
        cls.sandbox = Sandbox(home, "soak")
        cls.addClassCleanup(cls.sandbox.down, check=None)
        cls.sandbox.up("--nodes", "8", *flavour_options(), "--slurmd-timeout", "5")
        cls.own_profiles()

    def setUp(self):
        self.random, self.begun, self.count = random.Random(SEED), time.monotonic(), 0
        self.lost_nodes, self.looked, self.tally = {}, 0.0, dict.fromkeys(FAULTS, 0)

    def say(self, text):
        print(f"soak {time.monotonic() - self.begun:6.1f} s  {text}", flush=True)

    def test_soak(self):
        self.say(f"{MINUTES:g} minutes, TRAINCTL_SOAK_SEED={SEED}")
        runs = [self.new_run() for _ in range(RUNS)]
        finished = []
        while time.monotonic() - self.begun < MINUTES * 60:
            # As many numbers for each fault, whatever it meets: the order of the choices depends on the seed alone.
            kind = self.random.choices(list(FAULTS), FAULTS.values())[0]
            index, where, pause = self.random.randrange(RUNS), self.random.random(), self.random.uniform(*PAUSE)
            met = getattr(self, f"fault_{kind}")(runs[index], where)
            self.tally[kind] += met is not None
            self.say(f"{kind:8} {runs[index].id}: {met or 'there is none'}")
            self.rest(runs, pause)
            for i, run in enumerate(runs):
                if run.record("ended.json"):
                    finished.append(self.check_run(run))
                    runs[i] = self.new_run()
        self.say("no more faults")
        self.bring_nodes_back(now=True)
        for run in runs:
            wait_until(lambda run=run: self.look(runs) or run.record("ended.json"), END_LIMIT, f"the end of {run.id}")
            finished.append(self.check_run(run))
        self.say(f"{len(finished)} runs finished in {sum(finished)} attempts; faults: {self.tally}")

    def new_run(self):
        self.count += 1
        run = self.make(f"soak{self.count}", steps=STEPS, every=10, resources__nodes=2, resources__time="1h",
                        recovery__no_progress_max=1000, recovery__max_attempts=1000)
        run.submit()
        self.say(f"new      {run.id}")
        return run

    def check_run(self, run):
        """It finished and all is well with it; how many attempts trained."""
        ended = run.record("ended.json")
        self.assertEqual(ended["kind"], "finished", f"{run.id}: {ended}")
        self.check_lineage(run)
        self.check_nothing_left(run)
        attempts = len(self.resumes(run))
        self.say(f"finished {run.id}: {attempts} sets of ranks")
        return attempts

    def rest(self, runs, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.bring_nodes_back()
            self.look(runs)
            time.sleep(0.1)

    def look(self, runs):
        if time.monotonic() - self.looked > LOOK_EVERY:
            self.looked = time.monotonic()
            for run in runs:
                run.status()

    def bring_nodes_back(self, now=False):
        due = [node for node, when in self.lost_nodes.items() if now or when < time.monotonic()]
        if due:
            self.sandbox.up()  # brings back all
            self.own_profiles()
            self.lost_nodes.clear()
            self.say(f"back     {', '.join(due)}")

    @staticmethod
    def pick(things, where):
        things = sorted(things)
        return things[int(where * len(things))] if things else None

    def fault_rank(self, run, where):
        newest = max((entry["attempt"] for entry in run.entries()), default=0)
        pid = self.pick({entry["pid"] for entry in run.entries() if entry["attempt"] == newest and alive(entry["pid"])}, where)
        if pid:
            kill(pid)
            return f"kill -9 {pid}, attempt {newest}"
        return None

    def fault_head(self, run, where):
        pid = self.pick(run.heads(), where)
        if pid:
            kill(pid)
            return f"kill -9 {pid}"
        return None

    def fault_standby(self, run, _where):
        pending = [job for job, (_, state) in run.jobs().items() if state == "PENDING"]
        if pending:
            self.sandbox.slurm("scancel", str(max(pending)))
            return f"scancel {max(pending)}"
        return None

    def fault_stop(self, run, where):
        verb = "stop" if where < 0.6 else "cancel"
        run.command(verb, run.id)

        def goes_on():
            """A lost node makes the end slow: Slurm must notice first, and somebody must look."""
            ended = run.record("ended.json")
            finished = ended is not None and ended["kind"] == "finished"
            return finished or run.command("resume", run.id).returncode == 0 or run.status() is None
        wait_until(goes_on, COMMAND_LIMIT, f"resume of {run.id} after {verb}")
        return f"{verb} and resume"

    def fault_submit(self, _run, where):
        """A submit that is killed at any time, and where it had not told the run's id, once more."""
        self.count += 1
        other = self.make(f"killed{self.count}", steps=20)
        submit = Waiting(other)
        end = time.monotonic() + 2 * where
        while time.monotonic() < end and submit.process.poll() is None:
            time.sleep(0.01)
        submit.kill()
        if submit.text("out"):
            other.id = submit.text("out").split()[0]
        else:
            other.submit()
        wait_until(lambda: other.status()["state"] == "finished", END_LIMIT, f"the end of {other.id}")
        self.assertEqual(other.ids(), [other.id])
        self.check_run(other)
        return f"of {other.id}, kill -9 after {2 * where:.2f} s"

    def fault_node(self, run, where):
        jobs = [str(job) for job, (_, state) in run.jobs().items() if state == "RUNNING"]
        nodes = self.sandbox.slurm("squeue", "-h", "-j", ",".join(jobs), "-o", "%N").split() if jobs else []
        nodes = self.sandbox.slurm("scontrol", "show", "hostnames", ",".join(nodes)).split() if nodes else []
        node = self.pick(set(nodes) - set(self.lost_nodes), where)
        slurmd = self.sandbox.pids().get(node) if node else None
        if not slurmd:
            return None
        lost = of_node(self.sandbox, node)
        kill_at_once([slurmd, *lost], missing_ok=True)
        self.lost_nodes[node] = time.monotonic() + NODE_BACK[0] + (NODE_BACK[1] - NODE_BACK[0]) * (where * 97 % 1)
        return f"{node} lost with {len(lost)} processes"


if __name__ == "__main__":
    unittest.main()

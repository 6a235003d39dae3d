"""What the tests of drills share: a sandbox of their own, and a run that each drill is over in, whatever it hits."""

import concurrent.futures
import os

from harness import Home, Sandbox
from runs import RunCase

SECONDS_TO_WAIT = 200
STEPS = 300
# Those that take a job's nodes need some of their own; the others share.
ALONE = {"node-loss", "head-loss", "cut-off", "preempt"}
# What the records must say of it, somewhere.
FOUND = {"crash": r"rank_failed: rank \d+ on n\d+ was killed by signal 9",
         "hang": r"hang: ",
         "oom": r"rank_failed: rank \d+ on n\d+ exited with code 1",
         "node-loss": r"node_lost: ",
         "head-loss": r"attempt 1 .*(lost|node)",
         "cut-off": r"node_lost: nothing heard of node",
         "preempt": r"attempt 1 preempted",
         "time-limit": r"attempt 1 time.limit",
         "corrupt-checkpoint": r"rank_failed: rank \d+ on n\d+ was killed by signal 9",
         "disk-full": r"rank_failed: "}


class DrillCase(RunCase):
    nodes = 20

    @classmethod
    def setUpClass(cls):
        home = Home()
        cls.addClassCleanup(home.remove)
        cls.sandbox = Sandbox(home, "drills")
        cls.addClassCleanup(cls.sandbox.down, check=None)
        disk = ["--disk", "512M"] if os.geteuid() == 0 else []
        cls.sandbox.up("--nodes", str(cls.nodes), "--slurmd-timeout", "5", "--preempt-grace", "8", *disk)

    def begin(self, *kinds, steps=STEPS, **keys):
        """A run that survives these: with a spare where it loses a node, and time enough."""
        alone = not ALONE.isdisjoint(kinds)
        run = self.make("dr-" + "-".join(kind[:9] for kind in kinds), steps=steps, step_time=0.1, every=10,
                        **{"recovery__in_place": "on", "recovery__node_timeout": "4s", "recovery__no_progress_max": 6,
                           "health__stall_timeout": "6s", "resources__nodes": 2, "resources__time": "15m",
                           **({"resources__sbatch": ["--exclusive"]} if alone else {}),
                           **({"resources__spares": 1} if {"node-loss", "cut-off"} & set(kinds) else {}),
                           **({"resources__partition": "preemptible"} if "preempt" in kinds else {}), **keys})
        run.submit()
        run.wait_step(15)
        if not alone and "time-limit" not in kinds:
            return run
        run.wait_standby()
        return run

    def drill(self, *kinds, **keys):
        """(the run, what `trainctl drill` told) when it is over."""
        run = self.begin(*kinds, steps=900 if "time-limit" in kinds else STEPS, **keys)
        run.kinds = kinds
        return run, self.sandbox.home.json("drill", run.id, *kinds, "--timeout", str(SECONDS_TO_WAIT))

    def drills(self, sets):
        """All of them side by side."""
        with concurrent.futures.ThreadPoolExecutor(len(sets)) as threads:
            begun = {kinds: threads.submit(self.drill, *kinds) for kinds in sets}
        for kinds, future in begun.items():
            with self.subTest(" and ".join(kinds)):
                self.check(*future.result())

    def check(self, run, story):
        """It went on and finished, and no step was trained from a wrong checkpoint."""
        self.assertTrue(story["over"], story)
        self.assertTrue(story["seen"], story)
        self.assertGreater(story["still_s"], 0)
        self.assertGreater((story["goes_on"][-1]["attempt"], story["goes_on"][-1]["generation"]), (story["attempt"], story["generation"]))
        if len(run.kinds) == 1:
            self.assertRegex("\n".join(story["ends"]), FOUND[run.kinds[0]])
        print(f"{' and '.join(run.kinds)}: seen after {story['seen'][0]['after_s']:.3f} s ({story['seen'][0]['what']}), stood still for {story['still_s']:.2f} s",
              flush=True)
        run.wait_end()
        self.check_lineage(run)

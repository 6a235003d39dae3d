"""What the tests of drills share: a sandbox of their own, and a run that each drill is over in, whatever it hits."""

import concurrent.futures

from harness import Home, Sandbox, flavour_options, wait_until
from runs import RUN_LIMIT, RunCase

SECONDS_TO_WAIT = 200
STEPS = 500
AT_ONCE = 7  # runs, on a machine with few processors
# Those that take a job's nodes need some of their own; the others share.
ALONE = {"node-loss", "head-loss", "cut-off", "preempt"}
# What the records must say of it, somewhere.
FOUND = {"crash": r"rank_failed: rank \d+ on n\d+ was killed by signal 9",
         "hang": r"hang: ",
         "oom": r"rank_failed: rank \d+ on n\d+ exited with code 1",
         "node-loss": r"node_lost: ",
         "head-loss": r"attempt 1 .*(lost|node)",
         "cut-off": r"node_lost: nothing heard of node",
         "preempt": r"attempt 1 (preempted|terminated)",
         "time-limit": r"attempt 1 time.limit",
         "corrupt-checkpoint": r"rank_failed: rank \d+ on n\d+ was killed by signal 9",
         "disk-full": r"rank_failed: "}


class DrillCase(RunCase):
    nodes = 20
    disk = []  # options for a run root on a disk of its own

    @classmethod
    def setUpClass(cls):
        home = Home()
        cls.addClassCleanup(home.remove)
        cls.sandbox = Sandbox(home, "drills")
        cls.addClassCleanup(cls.sandbox.down, check=None)
        cls.sandbox.up("--nodes", str(cls.nodes), *flavour_options(), "--slurmd-timeout", "5", "--preempt-grace", "8", *cls.disk)

    def change(self, run):
        """The run, once more before it is submitted."""

    def begin(self, *kinds, steps=STEPS, **keys):
        """A run that survives these: with a spare where it loses a node, and time enough. What begins with "--" is for the
        trainer, and so are its values."""
        options = kinds[next((at for at, word in enumerate(kinds) if word.startswith("--")), len(kinds)):]
        kinds = kinds[:len(kinds) - len(options)]
        alone = not ALONE.isdisjoint(kinds)
        losses = len({"node-loss", "cut-off"} & set(kinds))
        run = self.make("dr-" + "-".join(kind[:9] for kind in kinds), *options, steps=steps, step_time=0.1, every=10,
                        **{"recovery__in_place": "on", "recovery__node_timeout": "4s", "recovery__no_progress_max": 6,
                           "health__stall_timeout": "6s", "health__min_free": "16M", "resources__nodes": max(2, 1 + losses), "resources__time": "15m",
                           **({"resources__sbatch": ["--exclusive"]} if alone else {}),
                           **({"resources__spares": losses} if losses else {}),
                           **({"resources__partition": "preemptible"} if "preempt" in kinds else {}), **keys})
        self.change(run)
        run.submit()
        # Not by its lineage: reading those of many long runs keeps this process from hurting them in time.
        wait_until(lambda: ((run.attempt_record(1, "progress.json") or {}).get("step") or 0) >= 15, RUN_LIMIT, f"step 15 of {run.id}")
        if not alone and "time-limit" not in kinds:
            return run
        run.wait_standby()
        return run

    def drill(self, *kinds, **keys):
        """(the run, what `trainctl drill` told) when it is over."""
        run = self.begin(*kinds, steps=1000 if "time-limit" in kinds else STEPS, **keys)
        run.kinds = kinds
        return run, self.sandbox.home.json("drill", run.id, *kinds, "--timeout", str(SECONDS_TO_WAIT))

    def drills(self, sets):
        """All of them side by side."""
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as threads:
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
        if run.kinds == ("oom",):
            told = self.sandbox.home.json("explain", run.id)
            judged = [generation["failure"] for attempt in told["attempts"] for generation in attempt["generations"] if "failure" in generation]
            self.assertEqual([failure["class"] for failure in judged], ["host-oom"])
            self.assertIn("MemoryError", judged[0]["evidence"][0]["text"])
        print(f"{' and '.join(run.kinds)}: seen after {story['seen'][0]['after_s']:.3f} s ({story['seen'][0]['what']}), stood still for {story['still_s']:.2f} s",
              flush=True)
        run.wait_end()
        self.check_lineage(run)

"""trainctl drill: the real faults, alone and several at once; each run goes on and finishes, from the right steps."""

import os
import unittest

from drills import DrillCase
from harness import Home
from runs import RunCase

ALONE = [("crash",), ("hang",), ("oom",), ("corrupt-checkpoint",), ("time-limit",), ("node-loss",), ("head-loss",), ("cut-off",), ("preempt",)]
PAIRS = [("crash", "hang"), ("crash", "node-loss"), ("corrupt-checkpoint", "preempt"), ("oom", "head-loss")]


class Drills(DrillCase):
    def test_1_each_alone_and_pairs_at_once(self):
        self.drills(ALONE + PAIRS)

    def test_2_a_lost_node_without_a_spare_and_a_rank_that_dies_meanwhile(self):
        run = self.begin("node-loss", "crash", resources__spares=0, resources__min_nodes=1)
        run.kinds = ("node-loss", "crash")
        self.check(run, self.sandbox.home.json("drill", run.id, *run.kinds))


@unittest.skipUnless(os.geteuid() == 0, "a disk of its own is mounted by root")
class FullDisk(DrillCase):
    nodes = 2
    disk = ["--disk", "512M"]

    def test_a_full_disk(self):
        # A checkpoint of a megabyte does not fit into what is left.
        run = self.begin("disk-full", "--payload", "1000000", recovery__lease="30s")
        run.kinds = ("disk-full",)
        self.check(run, self.sandbox.home.json("drill", run.id, "disk-full"))
        self.assertFalse(os.path.exists(f"{self.sandbox.root()}/drill.fill"))


class Refusals(RunCase):
    def test_what_can_not_be_drilled_is_refused_in_words(self):
        run = self.start("dr-no", steps=4000)
        run.wait_step(3)
        home = self.sandbox.home
        for arguments, code, words in (
                ((run.id, "crush"), 2, "did you mean 'crash'"),
                ((run.id, "crash", "--rank", "7"), 2, "there is no rank 7"),
                ((run.id, "node-loss"), 2, "head-loss"),  # of one node
                ((run.id, "preempt"), 1, "do not give way"),
                ((run.id, "disk-full"), 1, "--disk 2G")):
            with self.subTest(" ".join(arguments[1:])):
                self.assertIn(words, home.run("drill", *arguments, check=code).stderr)
        elsewhere = self.profile("elsewhere", root=f"{self.sandbox.root()}/../root")
        refused = home.run("drill", run.id, "head-loss", "--cluster", elsewhere, check=1).stderr
        self.assertIn("is no sandbox on this machine", refused)
        self.assertIn("work on every cluster", refused)
        home.run("cancel", run.id, check=0)
        self.assertIn("the run has ended", home.run("drill", run.id, "crash", check=1).stderr)

    @unittest.skipIf(os.geteuid() == 0, "root may mount")
    def test_an_ordinary_user_gets_no_disk(self):
        home = Home()
        self.addCleanup(home.remove)
        self.assertIn("only root", home.run("sandbox", "up", "--name", "disk", "--disk", "64M", check=1).stderr)


if __name__ == "__main__":
    unittest.main()

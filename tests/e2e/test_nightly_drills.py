"""Every pair of drills at once. Those that fill a disk hurt whoever shares it, and are alone."""

import itertools
import os
import unittest

from drills import FOUND, DrillCase

AT_A_TIME = 6
# One node of a run can be lost only once, and one job ends only once; what comes second finds nothing to hurt.
NO_PAIR = {frozenset(("head-loss", "preempt"))}
PAIRS = [pair for pair in itertools.combinations(sorted(set(FOUND) - {"disk-full"}), 2) if frozenset(pair) not in NO_PAIR]


class EveryPair(DrillCase):
    nodes = 24

    def test_every_pair(self):
        for begin in range(0, len(PAIRS), AT_A_TIME):
            self.drills(PAIRS[begin:begin + AT_A_TIME])
            self.sandbox.up()  # nodes that were lost are back


@unittest.skipUnless(os.geteuid() == 0, "a disk of its own is mounted by root")
class WithFullDisk(DrillCase):
    nodes = 6
    disk = ["--disk", "1G"]

    def test_every_kind_with_a_full_disk(self):
        for kind in sorted(set(FOUND) - {"disk-full"}):
            self.drills([(kind, "disk-full")])
            self.sandbox.up()


if __name__ == "__main__":
    unittest.main()

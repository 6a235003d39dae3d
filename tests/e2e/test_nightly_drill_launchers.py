"""Every drill, alone, on trainings whose ranks somebody else starts: srun, and a launcher on each node."""

import unittest

from drills import FOUND, DrillCase
from launchers import by_srun, by_torchrun

AT_A_TIME = 5
KINDS = [(kind,) for kind in sorted(set(FOUND) - {"disk-full"})]


class Launched(DrillCase):
    nodes = 16

    def drills_of(self, launcher):
        self.change = launcher
        for begin in range(0, len(KINDS), AT_A_TIME):
            self.drills(KINDS[begin:begin + AT_A_TIME])
            self.sandbox.up()  # nodes that were lost are back

    def test_by_srun(self):
        self.drills_of(by_srun)

    def test_by_a_launcher_on_each_node(self):
        self.drills_of(by_torchrun)


if __name__ == "__main__":
    unittest.main()

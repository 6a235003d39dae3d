"""What README's first screen promises: a real PyTorch training that loses a rank, goes on and finishes."""

import os
import subprocess
import unittest

RELEASE = os.environ.get("TRAINCTL_RELEASE_DIR", "")
QUICKSTART = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples/quickstart.sh")
LIMIT = 300  # seconds, as the README says; without the build


@unittest.skipUnless(os.path.exists(os.path.join(RELEASE, "trainctl")), "there is no release build")
class Quickstart(unittest.TestCase):
    def test_a_killed_rank_costs_seconds_and_the_training_finishes(self):
        done = subprocess.run([QUICKSTART], env=dict(os.environ, TRAINCTL_BIN_DIR=RELEASE), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=LIMIT)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, r"\n\S+  finished")
        self.assertIn("nothing is installed or built", done.stdout)
        self.assertRegex(done.stdout, r"The sandbox 'quickstart' is gone")


if __name__ == "__main__":
    unittest.main()

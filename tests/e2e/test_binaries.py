"""What the programs are made of: the agent must run on any Linux of its architecture, whatever is loaded there."""
import os
import subprocess
import unittest

RELEASE = os.environ.get("TRAINCTL_RELEASE_DIR", "")


@unittest.skipUnless(os.path.exists(os.path.join(RELEASE, "trainctl-agent")), "there is no release build")
class ReleaseAgent(unittest.TestCase):
    agent = os.path.join(RELEASE, "trainctl-agent")

    def readelf(self, *options):
        return subprocess.run(["readelf", "-W", *options, self.agent], capture_output=True, text=True, check=True).stdout

    def test_it_needs_no_interpreter_and_no_library(self):
        headers = self.readelf("-l")
        self.assertIn("LOAD", headers)
        self.assertNotIn("INTERP", headers)
        self.assertNotIn("NEEDED", self.readelf("-d"))

    def test_it_is_position_independent(self):
        self.assertIn("DYN", self.readelf("-h"))

    def test_it_runs_with_an_empty_environment(self):
        done = subprocess.run([self.agent, "version"], env={}, capture_output=True, text=True, timeout=10)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.startswith("trainctl-agent "))


if __name__ == "__main__":
    unittest.main()

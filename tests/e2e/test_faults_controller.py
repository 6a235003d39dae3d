"""A controller that is down for a while. On a sandbox of its own."""

import unittest

from harness import SLURMD_TIMEOUT, Home, Sandbox, flavour_options, goes_on_by_itself, wait_until
from runs import RunCase, kill


class ControllerTest(RunCase):
    @classmethod
    def setUpClass(cls):
        home = Home()
        cls.addClassCleanup(home.remove)
        cls.sandbox = Sandbox(home, "headless")
        cls.addClassCleanup(cls.sandbox.down, check=None)
        cls.sandbox.up("--nodes", "2", *flavour_options(), *SLURMD_TIMEOUT)
        cls.own_profiles()

    def test_a_controller_that_is_down_loses_nothing(self):
        run = self.start_waited("controlled", "--crash-at", "200", "--crash-attempts", "1", steps=220, every=50)
        alone = self.start("alone", "--crash-at", "190", "--crash-attempts", "1", steps=210, every=50)
        for each in (run, alone):
            each.wait_step(1)
        newest = "002" if goes_on_by_itself() else "001"
        self.wait_saved(f"tc-{run.id}-{newest}", f"tc-{alone.id}-{newest}")
        kill(self.sandbox.pids()["slurmctld"])
        wait_until(lambda: self.sandbox.status()["state"] == "degraded", what="the controller's end")
        status = run.command("status", run.id)
        self.assertEqual(status.returncode, 4, status.stdout + status.stderr)
        late = self.make("late", steps=5)
        refused = late.command("submit", late.file)
        self.assertEqual(refused.returncode, 4, refused.stdout + refused.stderr)
        self.assertIn("hint:", refused.stderr)
        run.wait_step(199)  # they train on without a controller
        alone.wait_step(189)
        self.sandbox.up()
        late.submit()
        for each in (run, alone, late):
            each.wait_end()
            self.check_lineage(each)
        self.assertEqual([attempt for attempt, _ in self.resumes(alone)], [1, 2])
        self.assertIn("attempt 2; attempt 1 ended: rank 1", self.check_waited(run))
        self.assertEqual(late.ids(), [late.id])

    def wait_saved(self, *job_names):
        """Until slurmctld has written the jobs to disk, which it does every few seconds: else it would forget them."""
        folder = self.sandbox.status()["folder"]

        def saved():
            try:
                with open(f"{folder}/slurmctld/job_state", "rb") as file:
                    content = file.read()
            except FileNotFoundError:
                return False
            return all(name.encode() in content for name in job_names)
        wait_until(saved, what=f"{job_names} in the controller's files")


if __name__ == "__main__":
    unittest.main()

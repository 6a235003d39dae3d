"""A cluster that breaks: a lost node, a bad node, a controller that is down. On a sandbox of its own. The runs go on by
themselves: nobody calls a command while they are waited for, but the `submit --wait` that began them."""

import os
import unittest

from harness import Home, Sandbox, wait_until
from runs import GONE_LIMIT, RunCase, alive, command_name, kill, kill_at_once, of_node, write

BAD_NODE = "n1"
PROLOG = """#!/bin/sh
[ ! -e {bad}/$SLURMD_NODENAME ]
"""


class ClusterTest(RunCase):
    @classmethod
    def setUpClass(cls):
        home = Home()
        cls.addClassCleanup(home.remove)
        cls.bad = f"{home.path}/bad-nodes"
        prolog = f"{home.path}/prolog"
        write(prolog, PROLOG.replace("{bad}", cls.bad), 0o755)
        os.makedirs(cls.bad)
        cls.sandbox = Sandbox(home, "broken")
        cls.addClassCleanup(cls.sandbox.down, check=None)
        cls.sandbox.up("--nodes", "4", "--prolog", prolog, "--slurmd-timeout", "5")

    def setUp(self):
        self.sandbox.up()
        for node in os.listdir(self.bad):
            os.remove(f"{self.bad}/{node}")
        for line in self.sandbox.slurm("sinfo", "-h", "-N", "-p", "gpu", "-o", "%N %t").splitlines():
            node, state = line.split()
            if state.startswith(("drain", "down", "drng")):
                self.sandbox.slurm("scontrol", "update", f"nodename={node}", "state=resume")

    def test_1_the_heads_node_is_lost(self):
        run = self.start("nodeless", steps=250, step_time=0.05, resources__nodes=2)
        run.wait_step(22)
        run.wait_standby()
        node = self.sandbox.slurm("squeue", "-h", "-j", str(run.job()), "-o", "%B").strip()
        ranks = [run.rank(0), run.rank(1)]
        lost = of_node(self.sandbox, node)
        # Its head, its agent, its ranks and what Slurm has there, all at once: what is left lives on another node.
        agents = {pid for pid, arguments in run.processes().items() if pid in lost and arguments[1:2] == ["node"]}
        self.assertEqual(len(agents), 1)
        self.assertLess({run.head(), *ranks}, lost)
        self.assertEqual([command_name(pid) for pid in lost].count("slurmstepd"), 2)
        self.assertFalse({run.rank(2), run.rank(3)} & lost)
        kill_at_once([self.sandbox.pids()[node], *lost])
        wait_until(lambda: not any(alive(pid) for pid in lost), GONE_LIMIT, f"the end of {lost}")
        self.assertIsNone(run.attempt_record(1, "outcome.json"))  # nobody was left to write one
        last = [entry["step"] for entry in run.entries() if entry["pid"] in ranks][-1]
        run.wait_end()
        self.assertEqual([entry["step"] for entry in run.entries() if entry["pid"] in ranks][-1], last)
        self.check_lineage(run)
        self.assertEqual([attempt for attempt, _ in self.resumes(run)], [1, 2])
        self.assertEqual(run.attempt_record(1, "verdict.json")["slurm_state"], "NODE_FAIL")
        self.check_nothing_left(run)

    def test_2_a_prolog_that_fails_on_one_node_does_not_end_the_run(self):
        write(f"{self.bad}/{BAD_NODE}", "")
        run = self.start_waited("prolog", steps=20)
        run.wait_end()
        self.check_waited(run)
        self.check_lineage(run)
        self.check_nothing_left(run)
        self.assertIsNone(run.status()["attempts"][0]["owner"])
        self.assertEqual(run.attempt_record(1, "verdict.json")["cause"], "launch failed")
        self.assertEqual([step for _, step in self.resumes(run)], [0])

    def test_3_a_controller_that_is_down_loses_nothing(self):
        run = self.start_waited("controlled", "--crash-at", "200", "--crash-attempts", "1", steps=220, every=50)
        alone = self.start("alone", "--crash-at", "190", "--crash-attempts", "1", steps=210, every=50)
        self.wait_saved(f"tc-{run.id}-002", f"tc-{alone.id}-002")
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

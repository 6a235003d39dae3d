"""A cluster that breaks: a lost node, a bad node, a controller that is down. On a sandbox of its own."""

import os
import subprocess
import unittest

from harness import TRAINCTL, Home, Sandbox, wait_until
from runs import RUN_LIMIT, RunCase, kill

BAD_NODE = "n1"


class ClusterTest(RunCase):
    @classmethod
    def setUpClass(cls):
        home = Home()
        cls.addClassCleanup(home.remove)
        cls.bad = f"{home.path}/bad-nodes"
        prolog = f"{home.path}/prolog"
        with open(prolog, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\n[ ! -e {cls.bad}/$SLURMD_NODENAME ]\n")
        os.chmod(prolog, 0o755)
        os.makedirs(cls.bad)
        cls.sandbox = Sandbox(home, "broken")
        cls.addClassCleanup(cls.sandbox.down, check=None)
        cls.sandbox.up("--nodes", "4", "--prolog", prolog)

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
        victim = self.sandbox.slurm("squeue", "-h", "-j", str(run.job()), "-o", "%B").strip()
        # All nodes are this machine: slurmd, the head, and what runs on that node.
        kill(self.sandbox.pids()[victim])
        for pid in self.of_node(run, victim):
            kill(pid)
        run.wait_end()
        self.check_lineage(run)
        self.assertEqual([attempt for attempt, _ in self.resumes(run)], [1, 2])
        self.check_nothing_left(run)

    def of_node(self, run, node):
        """The run's processes on that node, by Slurm's own mark in their environment or by the node agent's arguments."""
        found = []
        for pid, arguments in run.processes().items():
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    environment = file.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            head = arguments[1:2] == ["run"]
            if head or f"SLURMD_NODENAME={node}" in environment or f"TRAINCTL_NODE={node}" in environment:
                found.append(pid)
        return found

    def test_2_a_prolog_that_fails_on_one_node_does_not_end_the_run(self):
        with open(f"{self.bad}/{BAD_NODE}", "w", encoding="utf-8"):
            pass
        run = self.start("prolog", steps=20)
        status = run.wait_end(helped=True)
        self.check_lineage(run)
        self.check_nothing_left(run)
        self.assertIsNone(status["attempts"][0]["owner"])
        self.assertEqual(run.attempt_record(1, "verdict.json")["cause"], "launch failed")
        self.assertEqual([step for _, step in self.resumes(run)], [0])

    def test_3_a_controller_that_is_down_loses_nothing(self):
        run = self.start("controlled", "--crash-at", "200", "--crash-attempts", "1", steps=220, every=50)
        self.wait_saved(f"tc-{run.id}-002")
        kill(self.sandbox.pids()["slurmctld"])
        wait_until(lambda: self.sandbox.status()["state"] == "degraded", what="the controller's end")
        status = run.command("status", run.id)
        self.assertEqual(status.returncode, 4, status.stdout + status.stderr)
        late = self.make("late", steps=5)
        refused = subprocess.run([TRAINCTL, "submit", late.file], env=self.sandbox.home.env, text=True,
                                 capture_output=True, timeout=RUN_LIMIT)
        self.assertEqual(refused.returncode, 4, refused.stdout + refused.stderr)
        self.assertIn("hint:", refused.stderr)
        self.bring_back(run)
        out = late.submit().stdout
        late.id = out.strip()
        run.wait_end(helped=True)
        late.wait_end(helped=True)
        self.check_lineage(run)
        self.check_lineage(late)
        names = [name for name in os.listdir(f"{self.sandbox.root()}/runs") if name.startswith("late-")]
        self.assertEqual(names, [late.id])

    def wait_saved(self, job_name):
        """Until slurmctld has written the job to disk, which it does every few seconds: else it would forget it."""
        folder = self.sandbox.status()["folder"]

        def saved():
            try:
                with open(f"{folder}/slurmctld/job_state", "rb") as file:
                    return job_name.encode() in file.read()
            except FileNotFoundError:
                return False
        wait_until(saved, what=f"{job_name} in the controller's files")

    def bring_back(self, run):
        run.wait_step(199)  # it trains on without a controller
        self.sandbox.up()


if __name__ == "__main__":
    unittest.main()

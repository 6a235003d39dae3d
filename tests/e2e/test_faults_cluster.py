"""A cluster that breaks: a lost node, a bad node. On a sandbox of its own. The runs go on by themselves: nobody calls a
command while they are waited for, but the `submit --wait` that began them."""

import json
import os
import unittest

from harness import Home, Sandbox, flavour_options, wait_until
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
        cls.sandbox.up("--nodes", "4", *flavour_options(), "--prolog", prolog, "--slurmd-timeout", "5")
        cls.own_profiles()

    def setUp(self):
        self.sandbox.up()
        self.own_profiles()
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
        self.assertGreaterEqual([command_name(pid) for pid in lost].count("slurmstepd"), 2)  # a site may have one more for each job
        self.assertFalse({run.rank(2), run.rank(3)} & lost)
        kill_at_once([self.sandbox.pids()[node], *lost], missing_ok=True)  # commands that a head runs are short-lived
        wait_until(lambda: not any(alive(pid) for pid in lost), GONE_LIMIT, f"the end of {lost}")
        self.assertIsNone(run.attempt_record(1, "outcome.json"))  # nobody was left to write one
        last = [entry["step"] for entry in run.entries() if entry["pid"] in ranks][-1]
        run.wait_end()
        self.assertEqual([entry["step"] for entry in run.entries() if entry["pid"] in ranks][-1], last)
        self.check_lineage(run)
        self.assertEqual([attempt for attempt, _ in self.resumes(run)], [1, 2])
        verdict = run.attempt_record(1, "verdict.json")
        self.assertEqual(verdict["cause"], "node lost")
        # Slurm sees it after SlurmdTimeout; an agent that is left ends the job where the head's beat stands still before.
        if verdict["slurm_state"] != "NODE_FAIL":
            self.assertEqual(verdict["slurm_state"], "CANCELLED")
            self.assertIn("the head is gone", run.attempt_record(1, "abandoned.json")["why"])
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
        self.assertEqual(run.attempt_record(1, "verdict.json")["exclude_nodes"], [BAD_NODE])
        self.assertEqual([step for _, step in self.resumes(run)], [0])

    def test_3_a_node_that_the_run_avoids_counts_as_lost_in_a_job_that_got_it_all_the_same(self):
        run = self.start("avoiding", steps=120, step_time=0.05, resources__nodes=2, resources__min_nodes=1, resources__sbatch=["--nodelist=n2,n3"])
        run.wait_step(22)
        run.wait_standby()  # was submitted before anything was known of a node
        verdict = {"by": "a test", "cause": "node lost", "evidence": "", "exclude_nodes": ["n3"], "format": 1, "slurm_reason": "",
                   "slurm_state": "", "text": "", "written": 0}
        write(f"{run.dir}/attempts/001/verdict.json", json.dumps(verdict))
        kill(run.rank(0))
        run.wait_end()
        self.check_lineage(run)
        self.assertEqual([event["nodes"] for event in run.events("generation_started")], [["n2", "n3"], ["n2"]])
        self.assertIn("1 of n[2-3] count as lost", run.events("nodes_avoided")[0]["text"])


if __name__ == "__main__":
    unittest.main()

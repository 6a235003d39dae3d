"""Agents that reach their head through srun's streams, as on a cluster whose nodes let no TCP through."""

import os
import unittest

from harness import Home, Sandbox, flavour_options, wait_until
from runs import RUN_LIMIT, alive, below, command_name, kill, kill_at_once
from test_in_place import InPlaceCase, all_at_once


class Wire(InPlaceCase):
    """On a sandbox of its own: a node dies. All runs begin at once, and each is hurt as soon as it trains."""

    @classmethod
    def setUpClass(cls):
        home = Home()
        cls.addClassCleanup(home.remove)
        cls.sandbox = Sandbox(home, "wire")
        cls.addClassCleanup(cls.sandbox.down, check=None)
        cls.sandbox.up("--nodes", "8", *flavour_options(), "--slurmd-timeout", "5")

    def log(self, run):
        return run.read("attempts/001/logs/agent.log") or ""

    def test_a_training_lives_on_srun_alone(self):
        cluster = self.profile("wired", agent_network="srun")
        names = ("quiet", "killed", "cut", "spared")

        def begin_and_hurt(name):
            run = getattr(self, f"start_{name}")(f"wire-{name}", cluster=cluster, resources__nodes=2)
            getattr(self, f"hurt_{name}")(run)
            return self.hurt_is_done(run)
        for name, hurt in all_at_once(begin_and_hurt, names).items():
            with self.subTest(name):
                run = hurt.result()
                getattr(self, f"check_{name}")(run)
                self.assertIn("is here, by srun's streams", self.log(run))
                self.assertIn("the head is reached by srun's streams", self.log(run))
                self.assertNotIn("by TCP", self.log(run))

    # Nothing happens to it.
    def start_quiet(self, name, **keys):
        return self.begin(name, **keys)

    def hurt_quiet(self, run):
        run.wait_step(12)
        for rank in range(4):
            self.assertEqual(os.readlink(f"/proc/{run.rank(rank)}/fd/0"), "/dev/null")

    def check_quiet(self, run):
        self.assertEqual(self.check_mended(run, 1), [0])
        self.assertEqual(run.record("run.json")["agent_network"], "srun")
        self.assertEqual(run.attempt_record(1, "progress.json")["agents_by_srun"], 2)

    # A rank dies.
    def start_killed(self, name, **keys):
        return self.begin(name, **keys)

    def hurt_killed(self, run):
        run.wait_step(22)
        kill(run.rank(3))

    def check_killed(self, run):
        self.check_mended(run)
        ended = self.ended(run)
        self.assertEqual((ended["kind"], ended["first"]["rank"]), ("rank_failed", 3))
        print(f"standstill of a killed rank: {run.events('generation_started')[1]['standstill_ms']} ms", flush=True)

    # The agents' srun dies, and with it all that they can say.
    def start_cut(self, name, **keys):
        return self.begin(name, **keys)

    def hurt_cut(self, run):
        run.wait_step(22)
        sruns = [pid for pid in below(run.head()) if command_name(pid) == "srun"]
        self.assertTrue(sruns)
        run.old_ranks = [run.rank(rank) for rank in range(4)]
        kill_at_once(sruns, missing_ok=True)

    def check_cut(self, run):
        self.check_mended(run)
        self.assertFalse(any(alive(pid) for pid in run.old_ranks))
        self.assertGreaterEqual(len(run.events("agents_started")), 2)
        self.assertEqual(self.ended(run)["kind"], "node_lost")

    # A node dies.
    def start_spared(self, name, **keys):
        return self.alone(name, resources__spares=1, **keys)

    def hurt_spared(self, run):
        run.lost, run.nodes = self.lose_node(run)

    def check_spared(self, run):
        # Slurm waits for a lost node's word on the end of its jobs.
        wait_until(lambda: run.record("ended.json") and not run.jobs(), RUN_LIMIT, f"the end of {run.id}'s jobs")
        self.check_mended(run)
        self.assertEqual(self.ended(run)["kind"], "node_lost")
        self.assertNotIn(run.lost, run.events("generation_started")[1]["nodes"])


if __name__ == "__main__":
    unittest.main()

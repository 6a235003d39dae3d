"""Trainings that something is done to, and that go on from the right step or stop as asked."""

import json
import os
import unittest

from harness import wait_until
from runs import GONE_LIMIT, RunCase, alive, kill

# What may differ between the ranks' environments in two attempts.
OF_AN_ATTEMPT = {"TRAINCTL_ATTEMPT", "TRAINCTL_JOB_ID", "TRAINCTL_MARK", "TRAINCTL_RESUME_FROM", "TRAINCTL_RESUME_STEP",
                 "TRAINCTL_PROGRESS", "MASTER_PORT"}


class FromOutside(RunCase):
    """With the agent of the build that is tested."""

    def test_a_rank_killed_while_submit_waits(self):
        run = self.start_waited("waited", steps=60)
        entry = run.wait_step(22)
        self.check_agent(run)
        kill(run.rank(1))
        told = self.check_waited(run)
        self.assertRegex(told, rf"{run.id}: running, attempt 2; attempt 1 ended: rank 1 on n\d was killed by signal 9\n")
        self.assertIn(f"{run.id}: finished", told)
        self.check_lineage(run)
        (_, begun), (attempt, resumed) = self.resumes(run)
        self.assertEqual((begun, attempt), (0, 2))
        self.assertEqual(resumed % 10, 0)
        self.assertGreaterEqual(resumed, entry["step"] // 10 * 10)
        self.check_nothing_left(run)

    def test_scancel_by_the_user_is_honoured(self):
        run = self.start("scancelled", steps=2000)
        run.wait_step(12)
        run.wait_standby()
        self.sandbox.slurm("scancel", str(run.job()))
        run.wait_end("stopped")
        self.assertEqual({entry["attempt"] for entry in run.entries()}, {1})
        self.check_nothing_left(run)
        run.command("resume", run.id, check=0)
        self.assertGreaterEqual(run.wait_step(1, attempt=2)["step"], 11)

    def test_stop_saves_and_cancel_does_not_and_resume_goes_on_after_each(self):
        run = self.start("stopped", steps=150, step_time=0.1, every=1000)
        run.wait_step(12)
        self.assertIn("stopped", run.command("stop", run.id, check=0).stdout)
        self.check_nothing_left(run)
        saved = run.newest_checkpoint()
        self.assertGreaterEqual(saved, 12)
        self.assertEqual(max(entry["step"] for entry in run.entries()), saved)
        self.assertEqual(run.status()["state"], "stopped")
        first = run.entries()[-1]["attempt"]

        run.command("resume", run.id, check=0)
        again = run.wait_step(saved + 5, attempt=first + 1)["attempt"]
        self.assertIn("cancelled", run.command("cancel", run.id, check=0).stdout)
        self.check_nothing_left(run)
        self.assertEqual(run.newest_checkpoint(), saved)

        run.command("resume", run.id, "--wait", check=0)
        self.check_lineage(run)
        self.assertEqual([step for _, step in self.resumes(run)], [0, saved, saved])
        self.assertGreater(self.resumes(run)[2][0], again)

    def test_a_killed_head_costs_an_attempt_and_no_more(self):
        run = self.start("headless", steps=120, resources__nodes=2)
        run.wait_step(22)
        job = run.job()
        kill(run.head())
        run.wait_end()
        self.check_lineage(run)
        self.assertEqual([attempt for attempt, _ in self.resumes(run)], [1, 2])
        self.assertNotEqual(run.job(2), job)
        self.check_nothing_left(run)

    def test_no_process_outlives_its_run_by_ten_seconds(self):
        finished = self.start("orphans", "--spawn-grandchild", "{folder}", "--ignore-term")
        cancelled = self.start("orphaned", "--spawn-grandchild", "{folder}", "--ignore-term", steps=2000)
        cancelled.wait_step(5)
        pids = self.grandchildren(cancelled)
        self.assertTrue(all(alive(pid) for pid in pids))
        cancelled.command("cancel", cancelled.id, check=0)
        self.check_grandchildren(cancelled)
        finished.wait_end()
        self.check_grandchildren(finished)

    def grandchildren(self, run):
        names = [name for name in os.listdir(run.folder) if name.endswith(".pid")]
        self.assertEqual(len(names), 4, names)  # one in its own session and one daemon for each rank
        pids = []
        for name in names:
            with open(f"{run.folder}/{name}", encoding="utf-8") as file:
                pids.append(int(file.read()))
        return pids

    def check_grandchildren(self, run):
        pids = self.grandchildren(run)
        wait_until(lambda: not any(alive(pid) for pid in pids), GONE_LIMIT, f"the end of {pids}")
        self.check_nothing_left(run)

    def test_the_ranks_environment_is_the_same_in_every_attempt(self):
        run = self.start("environment", "--dump-env", "{folder}/env", "--crash-at", "15", "--crash-attempts", "2", steps=20)
        run.wait_end()
        attempts = [attempt for attempt, _ in self.resumes(run)]
        self.assertEqual(attempts, [1, 2, 3])
        for rank in range(2):
            seen = []
            for attempt in attempts:
                with open(f"{run.folder}/env.{attempt}.{rank}.json", encoding="utf-8") as file:
                    environment = json.load(file)
                self.assertEqual(environment["TRAINCTL_ATTEMPT"], str(attempt))
                seen.append({name: value for name, value in environment.items() if name not in OF_AN_ATTEMPT})
            self.assertEqual(seen[0], seen[1])
            self.assertEqual(seen[0], seen[2])


if __name__ == "__main__":
    unittest.main()

"""What ends an attempt, and that the training goes on behind it from the right step, or stops for a reason that is told."""

import json
import os
import signal
import subprocess
import unittest

from harness import TRAINCTL, wait_until
from runs import GONE_LIMIT, RUN_LIMIT, RunCase, alive, kill

RELEASE_AGENT = os.path.join(os.environ.get("TRAINCTL_RELEASE_DIR", ""), "trainctl-agent")

# What may differ between the ranks' environments in two attempts.
OF_AN_ATTEMPT = {"TRAINCTL_ATTEMPT", "TRAINCTL_JOB_ID", "TRAINCTL_MARK", "TRAINCTL_RESUME_FROM", "TRAINCTL_RESUME_STEP",
                 "MASTER_PORT"}


class ByItself(RunCase):
    """Trainings that misbehave by themselves: all are started at once, and each test waits for its own."""

    def test_1_a_training_without_trouble_needs_one_attempt_and_leaves_nothing(self):
        run = self.make("plain", resources__nodes=2)
        result = run.submit("--wait")
        self.assertEqual(result.stdout.strip(), run.id)
        self.assertIn("next:  trainctl status " + run.id, result.stderr)
        self.assertEqual(run.status()["state"], "finished")
        self.check_lineage(run)
        self.assertEqual(self.resumes(run), [(1, 0)])
        self.check_nothing_left(run)
        self.assertIn("finished", run.text())

    def test_2_a_killed_rank_a_time_limit_a_cut_checkpoint_and_a_deterministic_error(self):
        killed = self.start("killed", "--crash-at", "25", "--crash-how", "signal:KILL", "--crash-attempts", "1",
                            resources__nodes=2)
        limited = self.start("limited", steps=700, every=200, resources__time="1m", resources__partition="short",
                             checkpoint__save_time="50s")
        cut = self.start("cut", "--truncate-newest-at", "30", "--crash-rank", "0", "--crash-attempts", "1", every=10)
        wrong = self.start("wrong", "--crash-at", "15", "--crash-how", "traceback", recovery__no_progress_max=2)
        with self.subTest("a killed rank"):
            self.check_killed(killed)
        with self.subTest("a cut checkpoint"):
            cut.wait_end()
            self.check_lineage(cut)
            self.assertEqual(self.resumes(cut), [(1, 0), (2, 20)])
        with self.subTest("a deterministic error"):
            self.check_wrong(wrong)
        with self.subTest("a time limit"):
            limited.wait_end()
            self.check_lineage(limited)
            first = limited.attempt_record(1, "outcome.json")
            self.assertEqual(first["kind"], "time_limit", first)
            # Saved on the signal, at a step of its own; nothing is trained twice.
            self.assertEqual(self.resumes(limited)[1], (2, first["last_step"]))
            self.assertEqual(first["checkpoint_step"], first["last_step"])
            self.check_nothing_left(limited)

    def check_killed(self, run):
        run.wait_end()
        self.check_lineage(run)
        self.assertEqual(self.resumes(run), [(1, 0), (2, 20)])
        first = run.attempt_record(1, "outcome.json")
        self.assertEqual((first["kind"], first["first"]["signal"], first["first"]["rank"]), ("rank_failed", signal.SIGKILL, 3))
        self.assertRegex(run.text(), r"rank 3 on n\d was killed by signal 9")
        self.check_nothing_left(run)

    def check_wrong(self, run):
        status = run.wait_end("failed")
        self.assertEqual(run.command("status", run.id).returncode, 3)
        text = run.text()
        self.assertIn("ValueError: the data of step 15 is broken", text)
        self.assertIn("no_progress_max", text)
        trained = [attempt["no"] for attempt in status["attempts"] if attempt["owner"]]
        self.assertEqual(trained, [1, 2, 3])  # the first left a checkpoint, two more did not
        self.check_nothing_left(run)


class FromOutside(RunCase):
    """Trainings that something is done to."""

    def test_a_rank_killed_while_submit_waits(self):
        run = self.make("waited", steps=60)
        with subprocess.Popen([TRAINCTL, "submit", "--wait", run.file], env=self.sandbox.home.env, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as submit:
            wait_until(lambda: os.path.exists(run.lineage) or submit.poll() is not None, RUN_LIMIT, "the first step")
            entry = run.wait_step(22)
            kill(run.rank(1))
            out, err = submit.communicate(timeout=RUN_LIMIT)
        run.id = out.split()[0]
        self.assertEqual(submit.returncode, 0, err)
        self.check_lineage(run)
        (_, begun), (attempt, resumed) = self.resumes(run)
        self.assertEqual((begun, attempt), (0, 2))
        self.assertEqual(resumed % 10, 0)
        self.assertGreaterEqual(resumed, entry["step"] // 10 * 10)
        self.assertIn("attempt 2", err)
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
        run = self.start("stopped", steps=150, every=1000)
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


@unittest.skipUnless(os.path.exists(RELEASE_AGENT), "there is no release build of the agent")
class WithTheReleaseAgent(RunCase):
    agent = RELEASE_AGENT

    test_a_rank_killed_while_submit_waits = FromOutside.test_a_rank_killed_while_submit_waits
    test_a_killed_head_costs_an_attempt_and_no_more = FromOutside.test_a_killed_head_costs_an_attempt_and_no_more
    test_no_process_outlives_its_run_by_ten_seconds = FromOutside.test_no_process_outlives_its_run_by_ten_seconds
    grandchildren = FromOutside.grandchildren
    check_grandchildren = FromOutside.check_grandchildren

if __name__ == "__main__":
    unittest.main()

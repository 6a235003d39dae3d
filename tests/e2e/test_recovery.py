"""What ends an attempt by itself, and that the training goes on behind it from the right step, or stops for a reason that
is told."""

import signal
import unittest

from runs import RunCase


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
        wrong = self.start("wrong", "--crash-at", "15", "--crash-how", "code:1", recovery__no_progress_max=2)  # and not a word
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
            # Slurm may ring a minute early: an attempt of a minute then trains nothing.
            began = self.resumes(limited)
            self.assertGreater(len(began), 1)
            for (before, _), (_, step) in zip(began, began[1:]):
                self.assertEqual(step, limited.attempt_record(before, "outcome.json")["last_step"])
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
        self.assertIn("no_progress_max", text)
        trained = [attempt["no"] for attempt in status["attempts"] if attempt["owner"]]
        self.assertEqual(trained, [1, 2, 3])  # the first left a checkpoint, two more did not
        self.check_nothing_left(run)


class StandbyAuto(RunCase):
    def test_a_long_job_gets_a_standby_and_a_short_one_goes_on_without(self):
        options = ("--crash-at", "25", "--crash-how", "signal:KILL", "--crash-attempts", "1")
        long, short = (self.start(name, *options, steps=60, recovery__standby="auto", resources__time=time)
                       for name, time in (("long", "15m"), ("short", "14m")))
        for run, has_standby in ((long, True), (short, False)):
            with self.subTest(run.name):
                run.wait_end()
                self.check_lineage(run)
                self.assertEqual([attempt for attempt, _ in self.resumes(run)], [1, 2])
                second = run.attempt_record(2, "intent.json")
                self.assertEqual(second["after"], run.job(1) if has_standby else None)
                self.check_nothing_left(run)


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""lineage.py finds what it is for; and trainer.py, run by hand without Slurm, is what the fault tests need."""
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import lineage  # noqa: E402


class LineageTest(unittest.TestCase):
    def setUp(self):
        self.clock = 1000.0
        self.lines = []

    def train(self, attempt, first, last, digest_of=None, **more):
        """Steps of both ranks of one set; the first line of each tells where it begins."""
        for rank in (0, 1):
            self.add(attempt, rank, first - 1, "start", digest_of, **more)
        for step in range(first, last + 1):
            for rank in (0, 1):
                self.add(attempt, rank, step, "step", digest_of, **more)

    def add(self, attempt, rank, step, event="step", digest_of=None, **more):
        self.clock += 0.01
        digest = ""
        for i in range(1, step + 1):
            digest = lineage.next_digest(digest, i, "1")
        entry = {"event": event, "attempt": attempt, "generation": 1, "job": str(attempt), "rank": rank,
                 "pid": 100 * attempt + rank, "time": self.clock, "step": step,
                 "digest": digest_of(step, digest) if digest_of else digest}
        self.lines.append(json.dumps(entry | more))

    def problems(self, total):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "l")
            with open(path, "w", encoding="utf-8") as file:
                file.write("".join(line + "\n" for line in self.lines))
            self.resumes = lineage.resumes(path)
            return lineage.check(path, total, "1")

    def test_a_restart_from_a_checkpoint_is_sound(self):
        self.train(1, 1, 7)
        self.train(2, 6, 8)
        self.train(3, 9, 10)
        self.assertEqual(self.problems(10), [])
        self.assertEqual(self.resumes, [(1, 1, 0), (2, 1, 5), (3, 1, 8)])

    def test_missing_end(self):
        self.train(1, 1, 7)
        self.assertEqual(self.problems(9), ["2 steps were never trained, the first is 8"])

    def test_gap(self):
        self.train(1, 1, 3)
        self.train(2, 5, 6)
        self.assertIn("attempt 2 trained step 5, but only 3 had been reached", self.problems(6))

    def test_a_jump_within_a_process(self):
        self.train(1, 1, 3)
        self.add(1, 0, 2)
        self.assertIn("attempt 1 rank 0 went from step 3 to 2", self.problems(3))

    def test_wrong_checkpoint(self):
        self.train(1, 1, 3)
        self.train(2, 3, 4, lambda step, digest: digest if step < 3 else "0" * 64)
        problems = self.problems(4)
        self.assertTrue(any("step 3 has two digests" in problem for problem in problems), problems)
        self.assertTrue(any("step 4 has a digest outside the chain" in problem for problem in problems), problems)

    def test_two_sets_at_once(self):
        self.train(1, 1, 3)
        self.train(2, 4, 4)
        self.add(1, 1, 4)
        self.assertTrue(any("went on after" in problem for problem in self.problems(4)))

    def test_two_sets_at_once_by_the_clock(self):
        self.train(1, 1, 3)
        self.clock -= 0.015
        self.train(2, 4, 4)
        self.assertTrue(any("before the one before ended" in problem for problem in self.problems(4)))

    def test_the_same_attempt_under_two_jobs(self):
        self.train(1, 1, 3)
        self.train(1, 3, 4, job="other")
        self.add(1, 0, 4)
        self.assertTrue(any("went on after" in problem for problem in self.problems(4)))

    def test_torn_line(self):
        self.train(1, 1, 2)
        self.lines.insert(1, '{"event": "st')
        self.assertTrue(any("line 2 is no JSON" in problem for problem in self.problems(2)))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Ranks:
    """Three ranks of trainer.py, as an agent would start them."""

    def __init__(self, folder, attempt, *arguments):
        port = free_port()
        self.processes = []
        for rank in range(3):
            environment = os.environ | {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port), "TRAINCTL_ATTEMPT": str(attempt), "TRAINCTL_JOB_ID": str(attempt)}
            command = [sys.executable, os.path.join(HERE, "trainer.py"), "--steps", "20", "--step-time", "0.005",
                       "--checkpoint-every", "5", "--checkpoint-dir", f"{folder}/c", "--lineage", f"{folder}/l", *arguments]
            self.processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE,
                                                   stderr=subprocess.PIPE, text=True))
        self.output = []

    def wait(self, deadline=20):
        self.output = [process.communicate(timeout=deadline) for process in self.processes]
        return [process.returncode for process in self.processes]

    def wait_for(self, rank):
        return self.processes[rank].wait(timeout=20)

    def alive(self):
        return [process.poll() is None for process in self.processes]

    def kill(self):
        for process in self.processes:
            process.kill()
        self.wait()


class TrainerTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = self.folder.name

    def ranks(self, attempt, *arguments):
        ranks = Ranks(self.path, attempt, *arguments)
        self.addCleanup(ranks.kill)
        return ranks

    def check(self):
        self.assertEqual(lineage.check(f"{self.path}/l", 20, "1"), [])
        return lineage.resumes(f"{self.path}/l")

    def checkpoints(self):
        return sorted(os.listdir(f"{self.path}/c"))

    def test_finishes(self):
        ranks = self.ranks(1)
        self.assertEqual(ranks.wait(), [0, 0, 0])
        self.assertIn("step 20 loss", ranks.output[0][0])
        self.assertEqual(self.checkpoints(), ["step-000005", "step-000010", "step-000015", "step-000020"])
        self.check()

    def test_a_killed_rank_stalls_the_others(self):
        ranks = self.ranks(1, "--crash-at", "12", "--crash-how", "signal:KILL")
        self.assertEqual(ranks.wait_for(2), -signal.SIGKILL)
        self.assertEqual(ranks.processes[0].stderr.readline(), "rank 0 waits for a rank that is gone\n")
        self.assertEqual(ranks.alive(), [True, True, False])
        ranks.kill()
        self.assertEqual(self.ranks(2, "--resume", f"{self.path}/c/step-000010").wait(), [0, 0, 0])
        self.assertEqual(self.check(), [(1, 1, 0), (2, 1, 10)])

    def test_crashes_in_the_ways_asked_for(self):
        for how, code in (("code:7", 7), ("signal:TERM", -signal.SIGTERM), ("traceback", 1)):
            with self.subTest(how=how):
                ranks = self.ranks(1, "--crash-at", "3", "--crash-rank", "0", "--crash-how", how)
                self.assertEqual(ranks.wait_for(0), code)
                ranks.kill()
                self.assertEqual("ValueError: the data of step 3" in ranks.output[0][1], how == "traceback")

    def test_exit_93_and_only_in_the_first_attempts(self):
        arguments = ("--exit93-at", "4", "--crash-attempts", "1")
        ranks = self.ranks(1, *arguments)
        self.assertEqual(ranks.wait_for(2), 93)
        ranks.kill()
        self.assertEqual(self.ranks(2, *arguments).wait(), [0, 0, 0])

    def test_truncates_the_newest(self):
        ranks = self.ranks(1, "--truncate-newest-at", "12")
        self.assertEqual(ranks.wait_for(0), -signal.SIGKILL)
        ranks.kill()
        with open(f"{self.path}/c/step-000012/MANIFEST", encoding="utf-8") as file:
            promised = {line.split()[2]: int(line.split()[1]) for line in file}
        self.assertEqual(promised["weights.bin"], 1000)
        self.assertEqual(os.path.getsize(f"{self.path}/c/step-000012/weights.bin"), 500)
        # Trained again from the one before, the damaged one is replaced.
        self.assertEqual(self.ranks(2, "--resume", f"{self.path}/c/step-000010", "--truncate-newest-at", "12",
                                    "--crash-attempts", "1").wait(), [0, 0, 0])
        self.assertEqual(os.path.getsize(f"{self.path}/c/step-000012/weights.bin"), 1000)
        self.check()

    def test_saves_on_usr1_and_ignores_term(self):
        ranks = self.ranks(1, "--ignore-term", "--steps", "100000")
        while not os.path.exists(f"{self.path}/c/step-000005"):
            self.assertEqual(ranks.alive(), [True] * 3)
            time.sleep(0.005)
        for process in ranks.processes:
            process.send_signal(signal.SIGTERM)
        ranks.processes[1].send_signal(signal.SIGUSR1)
        self.assertEqual(ranks.wait(), [75, 75, 75])
        newest = self.checkpoints()[-1]
        last = [entry["step"] for entry in lineage.read(f"{self.path}/l")[0] if entry["event"] == "step"][-1]
        self.assertEqual(newest, f"step-{last:06d}")

    def test_environment_and_grandchildren(self):
        ranks = self.ranks(3, "--dump-env", f"{self.path}/env", "--spawn-grandchild", f"{self.path}/pids")
        ranks.processes[0].wait(timeout=20)
        pids = {}
        for name in os.listdir(f"{self.path}/pids"):
            with open(f"{self.path}/pids/{name}", encoding="utf-8") as file:
                pids[name] = int(file.read())
        try:
            self.assertEqual(len(pids), 6)
            for pid in pids.values():
                self.assertEqual(os.getsid(pid) != os.getsid(0), True)
        finally:
            for pid in pids.values():
                os.kill(pid, signal.SIGKILL)
        self.assertEqual(ranks.wait(), [0, 0, 0])
        with open(f"{self.path}/env.3.1.json", encoding="utf-8") as file:
            self.assertEqual(json.load(file)["LOCAL_RANK"], "1")


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""examples/char-gpt without Slurm: it learns, and an interrupted training goes on as if it had not been interrupted."""
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLE = os.path.join(HERE, "../../examples/char-gpt")
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable  # Debian's has its torch
SMALL = ("--steps", "30", "--checkpoint-every", "10", "--batch", "8", "--context", "16", "--width", "32", "--layers", "1")
RANKS = 3  # with two, the order of adding up gradients could not matter
DEADLINE = 60


def has_torch():
    return subprocess.run([PYTHON, "-c", "import torch.distributed"], capture_output=True, timeout=DEADLINE,
                          check=False).returncode == 0


class Run:
    """All ranks of one launch."""

    def __init__(self, folder, *arguments):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.folder, self.processes = folder, []
        for rank in range(RANKS):
            environment = os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(RANKS),
                                        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                                        "TRAINCTL_CHECKPOINT_DIR": f"{folder}/c"}
            with open(f"{folder}/out.{rank}", "ab") as out:
                self.processes.append(subprocess.Popen(
                    [PYTHON, os.path.join(EXAMPLE, "train.py"), *SMALL, "--lineage", f"{folder}/lineage", *arguments],
                    env=environment, stdout=out, stderr=out))

    def output(self, rank=0):
        with open(f"{self.folder}/out.{rank}", encoding="utf-8") as file:
            return file.read()

    def wait(self):
        return [process.wait(timeout=DEADLINE) for process in self.processes]

    def wait_for(self, path):
        end = time.monotonic() + DEADLINE
        while not os.path.exists(path):
            if time.monotonic() > end or any(process.poll() not in (None, 0) for process in self.processes):
                raise AssertionError(f"no {path}:\n{self.output()}{self.output(1)}")
            time.sleep(0.005)

    def kill(self):
        for process in self.processes:
            process.kill()
            process.wait()


def lineage_of(folder):
    """step -> (digest of the data, loss), the last time that it was trained."""
    with open(f"{folder}/lineage", encoding="utf-8") as file:
        return {line["step"]: (line["digest"], line["loss"]) for line in map(json.loads, file)}


@unittest.skipUnless(has_torch(), f"{PYTHON} has no torch: apt-get install python3-torch")
class ExampleTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.undisturbed = tempfile.TemporaryDirectory()
        run = Run(cls.undisturbed.name)
        try:
            if run.wait() != [0] * RANKS:
                raise AssertionError(run.output() + run.output(1))
        finally:
            run.kill()
        cls.truth = lineage_of(cls.undisturbed.name)

    @classmethod
    def tearDownClass(cls):
        cls.undisturbed.cleanup()

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = folder.name

    def start(self, *arguments):
        run = Run(self.path, *arguments)
        self.addCleanup(run.kill)
        return run

    def newest(self):
        return f"{self.path}/c/" + sorted(name for name in os.listdir(f"{self.path}/c") if name.startswith("step-"))[-1]

    def test_it_learns_and_prints_its_progress(self):
        self.assertEqual(sorted(self.truth), list(range(1, 31)))
        self.assertLess(self.truth[30][1], self.truth[1][1] - 0.5)
        with open(f"{self.undisturbed.name}/out.0", encoding="utf-8") as file:
            output = file.read()
        self.assertRegex(output, re.compile(r"^step 30 loss \d+\.\d+ rate \d+\.\d steps/s$", re.MULTILINE))

    def test_killed_and_resumed_it_is_the_same_training_to_the_bit(self):
        run = self.start()
        run.wait_for(f"{self.path}/c/step-000010")
        run.processes[1].kill()
        self.assertNotEqual(run.processes[1].wait(timeout=DEADLINE), 0)
        run.kill()
        self.assertEqual(self.start("--resume", self.newest()).wait(), [0] * RANKS)
        self.assertEqual(lineage_of(self.path), self.truth)

    def test_usr1_at_any_rank_saves_all_at_the_same_step(self):
        run = self.start("--step-time-min", "0.02")
        run.wait_for(f"{self.path}/c/step-000010")
        run.processes[1].send_signal(signal.SIGUSR1)
        self.assertEqual(run.wait(), [75] * RANKS)
        saved = int(self.newest()[-6:])
        self.assertEqual(max(lineage_of(self.path)), saved)
        self.assertLess(saved, 30)
        self.assertEqual(self.start("--resume", self.newest()).wait(), [0] * RANKS)
        self.assertEqual(lineage_of(self.path), self.truth)

    def test_one_rank_sees_the_same_data_and_nearly_the_same_losses(self):
        environment = os.environ | {"RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": "0"}
        subprocess.run([PYTHON, os.path.join(EXAMPLE, "train.py"), *SMALL, "--lineage", f"{self.path}/lineage",
                        "--checkpoint-dir", f"{self.path}/c"], env=environment, check=True, timeout=DEADLINE,
                       stdout=subprocess.DEVNULL)
        for step, (digest, loss) in lineage_of(self.path).items():
            self.assertEqual(digest, self.truth[step][0])
            self.assertTrue(math.isclose(loss, self.truth[step][1], rel_tol=1e-3), (step, loss, self.truth[step][1]))

    def test_a_checkpoint_of_another_training_is_refused(self):
        run = self.start("--width", "16", "--resume", f"{self.undisturbed.name}/c/step-000010")
        self.assertEqual(run.wait(), [1] * RANKS)
        self.assertIn("is of another training", run.output())


if __name__ == "__main__":
    unittest.main()

"""A run root that fills up while a run lives, and one that may not be written: nothing is lost, and what is wrong is told."""

import os
import shutil
import subprocess
import tempfile
import unittest

from harness import TRAINCTL, wait_until
from runs import RUN_LIMIT, RunCase

ROOM = 16 << 20  # bytes of the root besides the agent
UNTIL_FULL = 1 << 16


def mount_small(cleanup):
    """A file system of its own, that a test may fill; its path, or why there is none."""
    if os.getuid() != 0:
        return None, "only root can mount a small tmpfs"
    agent = os.environ.get("TRAINCTL_AGENT") or f"{os.path.dirname(TRAINCTL)}/trainctl-agent"
    folder = tempfile.mkdtemp(prefix="tc-full-")
    cleanup(os.rmdir, folder)
    size = os.stat(agent).st_size + ROOM
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", folder], capture_output=True, timeout=10,
                      check=False).returncode != 0:
        return None, "a tmpfs can't be mounted here"
    cleanup(subprocess.run, ["umount", "--lazy", folder], check=True, timeout=10)
    return folder, ""


class DiskFullTest(RunCase):
    @classmethod
    def setUpClass(cls):
        # Before the sandbox begins: nodes that are isolated do not see what is mounted later.
        cls.small = [mount_small(cls.addClassCleanup) for _ in range(3)]
        super().setUpClass()

    def small_root(self):
        """The name of a cluster with its root on a small disk, and the root. Each test takes one."""
        folder, why = self.small.pop()
        if why:
            self.skipTest(why)
        return self.profile("small", root=folder), folder

    def fill(self, folder):
        """Takes all the space that is left; its path."""
        path = f"{folder}/filler"
        try:
            with open(path, "ab", buffering=0) as file:
                while file.write(b"\0" * UNTIL_FULL):
                    pass
        except OSError as error:
            self.assertIn("No space left", str(error))
        return path

    def start_there(self, name, *options, **keys):
        cluster, root = self.small_root()
        return self.start(name, *options, cluster=cluster, root=root, health__preflight="off", **keys), root

    def finish(self, run):
        """Whoever looks puts it right; it ends well, and each step was trained from the one before it."""
        wait_until(lambda: run.status()["state"] == "finished", RUN_LIMIT, f"the end of {run.id}")
        self.check_lineage(run)
        self.check_nothing_left(run)

    def test_full_while_training(self):
        run, root = self.start_there("fullstep", steps=80, every=1000)
        run.wait_step(5)
        head = run.head()
        filler = self.fill(root)
        run.wait_step(30)
        self.assertEqual(run.head(), head)
        os.remove(filler)
        self.finish(run)
        self.assertEqual(self.resumes(run), [(1, 0)])

    def test_full_while_saving(self):
        run, root = self.start_there("fullsave", steps=200, every=20)
        run.wait_step(22)
        wait_until(run.newest_checkpoint, what="a checkpoint")
        filler = self.fill(root)
        wait_until(lambda: not any("trainer.py" in " ".join(words) for words in run.processes().values()), RUN_LIMIT, "the end of a training that can't save")
        newest = run.newest_checkpoint()
        self.assertLess(newest, 200)
        # No restart makes room: it stops, and says what to do.
        run.wait_end("failed")
        told = run.command("explain", run.id, check=0).stdout
        self.assertIn("class       storage-full (", told)
        self.assertIn("No space left on device", told)
        self.assertEqual([attempt["no"] for attempt in run.status()["attempts"] if attempt["owner"]], [1])
        os.remove(filler)
        run.command("resume", run.id, check=0)
        self.finish(run)
        self.assertEqual(self.resumes(run)[-1][1], newest)

    def test_full_while_the_next_attempt_claims(self):
        run, root = self.start_there("fullclaim", "--crash-at", "30", "--crash-attempts", "1", steps=60, every=20)
        run.wait_step(22)
        run.wait_standby()
        filler = self.fill(root)
        wait_until(lambda: run.job() not in run.jobs(), RUN_LIMIT, "the end of attempt 1")
        os.remove(filler)
        self.finish(run)
        self.assertEqual(self.resumes(run)[-1][1], 20)


class DeniedTest(RunCase):
    """As an ordinary user: root, too, is one without the capabilities that pass over permissions."""

    def as_ordinary_user(self):
        if os.getuid() != 0:
            return []
        command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
        if not shutil.which("setpriv") or subprocess.run([*command, "true"], capture_output=True, timeout=10, check=False).returncode != 0:
            self.skipTest("root's capabilities can't be dropped here")
        return command

    def run_as_user(self, *arguments):
        return subprocess.run([*self.as_ordinary_user(), TRAINCTL, *arguments], env=self.sandbox.home.env, timeout=RUN_LIMIT, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)

    def test_a_root_that_may_not_be_written_is_told_and_nothing_is_made(self):
        folder = tempfile.mkdtemp(prefix="tc-denied-")
        self.addCleanup(shutil.rmtree, folder)
        os.chmod(folder, 0o500)
        run = self.make("denied", cluster=self.profile("denied", root=f"{folder}/root", via="local"))
        result = self.run_as_user("submit", run.file)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("Permission denied", result.stderr)
        self.assertIn("hint:", result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertEqual(os.listdir(folder), [])


if __name__ == "__main__":
    unittest.main()

"""The sandbox: a real cluster that survives the death of any of its parts and leaves nothing behind."""

import os
import signal
import subprocess
import unittest

from harness import TRAINCTL, Home, Sandbox, processes_naming, wait_until


class SandboxTest(unittest.TestCase):
    def setUp(self):
        self.home = Home()
        self.addCleanup(self.home.remove)
        self.sandbox = Sandbox(self.home, "tried")
        self.addCleanup(self.sandbox.down, check=None)

    def folder(self):
        return os.path.join(self.home.path, "state/trainctl/sandbox", self.sandbox.name)

    def check_nothing_left(self):
        self.assertEqual(processes_naming(self.folder()), {})
        self.assertFalse(os.path.exists(self.folder()))

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"), what=f"the end of process {pid}")

    def test_a_job_runs_over_ssh_and_here(self):
        shown = self.sandbox.up("--nodes", "2", "--gpus-per-node", "4", "--chip", "a100")
        self.assertIn("is up: 2 nodes, 4 a100 each", shown.stdout)
        self.assertIn("slurmctld", shown.stderr)
        self.assertEqual(sorted(self.sandbox.slurm("srun", "-N2", "sh", "-c", "echo $SLURMD_NODENAME").split()),
                         ["n1", "n2"])
        out = self.sandbox.status()["root"] + "/job.out"
        job = self.sandbox.ssh(f"sbatch --parsable --gres=gpu:a100:4 -N2 -o {out} --wrap 'srun hostname'").strip()
        wait_until(lambda: self.sandbox.slurm("squeue", "-h", "-t", "all", "-j", job, "-o", "%T").strip() == "COMPLETED",
                   what="the job's end")
        with open(out, encoding="utf-8") as file:
            self.assertEqual(len(file.read().split()), 2)
        self.assertIn("PartitionDown", self.pending_reason("down"))
        with open(os.path.join(self.home.env["XDG_CONFIG_HOME"], "trainctl/clusters.yaml"), encoding="utf-8") as file:
            profiles = file.read()
        self.assertIn("tried:", profiles)
        self.assertIn("tried-local:", profiles)
        self.sandbox.down(check=0)
        self.check_nothing_left()

    def pending_reason(self, partition):
        job = self.sandbox.slurm("sbatch", "--parsable", "-p", partition, "-o", "/dev/null", "--wrap", "true").strip()
        return wait_until(lambda: self.sandbox.slurm("squeue", "-h", "-j", job, "-o", "%r").strip().replace("None", ""),
                          what="a reason")

    def test_a_second_up_repairs_what_died_and_keeps_the_rest(self):
        self.sandbox.up("--nodes", "2")
        before = self.sandbox.pids()
        for victim in before:
            self.kill(before[victim])
            self.assertEqual(self.sandbox.status(check=1)["state"], "degraded", victim)
            self.sandbox.up(check=0)
            after = self.sandbox.pids()
            self.assertNotIn(None, after.values(), victim)
            self.assertNotEqual(after[victim], before[victim])
            self.assertEqual({part: pid for part, pid in after.items() if part != victim},
                             {part: pid for part, pid in before.items() if part != victim})
            before = after
        self.sandbox.up("--nodes", "3", check=1)  # another one than is there

    def test_down_ends_jobs_and_their_orphans(self):
        self.sandbox.up("--nodes", "1")
        marker = self.sandbox.status()["root"] + "/started"
        self.sandbox.slurm("sbatch", "-o", "/dev/null", "--wrap",
                           f"setsid sh -c 'tail -f {marker}.x >/dev/null 2>&1 & exec tail -f /dev/null' & touch {marker}; wait")
        wait_until(lambda: os.path.exists(marker), what="the job's start")
        self.kill(self.sandbox.pids()["n1"])
        self.sandbox.down(check=0)
        self.check_nothing_left()

    def test_an_up_killed_at_any_time_is_gone_on_with_or_ended(self):
        for part in ("munged", "slurmctld", "n1"):
            with subprocess.Popen([TRAINCTL, "sandbox", "up", "--name", "tried", "--nodes", "1"], env=self.home.env,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as up:
                wait_until(lambda: up.poll() is not None or self.runs(part), what=f"the start of {part}")
                up.kill()
            if part == "slurmctld":
                self.sandbox.up(check=0)
                self.assertEqual(self.sandbox.status(check=0)["state"], "up")
            self.sandbox.down(check=0)
            self.check_nothing_left()

    def runs(self, part):
        parts = self.sandbox.status().get("parts", [])
        return any(entry["name"] == part and entry["pid"] for entry in parts)

    def test_two_at_a_time_and_two_ups_of_one(self):
        other = Sandbox(self.home, "other")
        self.addCleanup(other.down, check=None)
        ups = [subprocess.Popen([TRAINCTL, "sandbox", "up", "--name", name, "--nodes", "1"], env=self.home.env,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
               for name in ("tried", "other", "tried")]
        for up in ups:
            self.assertEqual(up.wait(timeout=180), 0, up.stderr.read())
            up.stderr.close()
        self.sandbox.down(check=0)
        self.assertEqual(other.status(check=0)["state"], "up")
        self.check_nothing_left()

    def test_a_folder_that_is_no_sandbox_is_left_alone(self):
        folder = os.path.join(self.home.path, "mine")
        os.makedirs(os.path.join(folder, "run"))
        self.home.run("sandbox", "up", "--state", folder, check=1)
        self.home.run("sandbox", "down", "--state", folder, check=0)
        self.assertTrue(os.path.isdir(os.path.join(folder, "run")))


class CommandLineTest(unittest.TestCase):
    def setUp(self):
        self.home = Home()
        self.addCleanup(self.home.remove)

    def test_usage_errors_exit_2_and_help_has_an_example(self):
        result = self.home.run("sandbx", check=2)
        self.assertIn("did you mean 'sandbox'", result.stderr)
        self.assertEqual(result.stdout, "")
        self.home.run("sandbox", "up", "--nodes", "many", check=2)
        self.home.run(check=2)
        self.assertIn("Example", self.home.run("sandbox", "up", "--help", check=0).stdout)
        self.assertIn("trainctl 0.", self.home.run("--version", check=0).stdout)
        self.assertEqual(self.home.json("version")["format"], 1)


if __name__ == "__main__":
    unittest.main()

"""The sandbox: a real cluster that survives the death of any of its parts and leaves nothing behind."""

import os
import shutil
import signal
import subprocess
import unittest

from harness import TRAINCTL, Home, Sandbox, processes_naming, wait_until


class SandboxCase(unittest.TestCase):
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


class SandboxTest(SandboxCase):
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


class FlavourTest(SandboxCase):
    def refused(self, *command):
        env = dict(self.home.env, SLURM_CONF=self.sandbox.known()["slurm_conf"])
        result = subprocess.run(command, env=env, timeout=60, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)
        self.assertNotEqual(result.returncode, 0, result.stdout)
        return result.stderr

    def submit(self, *options, script="true"):
        return self.sandbox.slurm("sbatch", "--parsable", "-o", "/dev/null", *options, "--wrap", script).strip()

    def state(self, job):
        return self.sandbox.slurm("squeue", "-h", "-t", "all", "-j", job, "-o", "%T").strip()

    def test_a_strict_site(self):
        shown = self.sandbox.up("--site", "strict", "--nodes", "2").stdout
        machine = self.sandbox.known()["machine"]
        self.assertIn("dependencies are refused", shown)
        self.assertIn("SlurmdTimeout           = 300 sec", self.sandbox.slurm("scontrol", "show", "config"))
        self.sandbox.up("--site", "strict")  # nothing changes
        self.sandbox.up("--site", "plain", check=1)

        job = self.submit()
        self.assertIn("dependencies are not allowed", self.refused("sbatch", "-d", f"afternotok:{job}", "--wrap", "true"))
        scratch = f"{self.folder()}/scratch/n1-"
        self.sandbox.slurm("srun", "-w", "n1", "sh", "-c", f"test -d {scratch}$SLURM_JOB_ID")
        wait_until(lambda: not os.listdir(f"{self.folder()}/scratch"), what="the epilogs' end")

        if machine["no_isolation"]:
            print(f"NOT TRIED: sbatch from nodes: {machine['no_isolation']}", flush=True)
            self.assertIn(machine["no_isolation"], shown)
        else:
            self.assertEqual(sorted(self.sandbox.slurm("srun", "-N2", "hostname").split()), ["n1", "n2"])
            # With nothing left in its environment that tells of the job it is in.
            conf = self.sandbox.known()["slurm_conf"]
            said = self.refused("srun", "-N1", "env", "-i", f"SLURM_CONF={conf}", "PATH=/usr/bin:/bin", "sbatch", "--wrap", "true")
            self.assertIn("Access/permission denied", said)
        if machine["no_cgroups"]:
            print(f"NOT TRIED: limits of memory: {machine['no_cgroups']}", flush=True)
            self.assertIn(machine["no_cgroups"], shown)
        else:
            eater = ("srun", "python3", "-c", "print(len(bytearray(400 << 20)))")
            self.assertIn("419430400", self.sandbox.slurm(*eater))
            self.assertIn("oom", self.refused(eater[0], "--mem=100", *eater[1:]).lower())
        self.sandbox.down(check=0)
        self.check_nothing_left()
        self.assertEqual(groups_of_sandboxes() if not machine["no_cgroups"] else [], [])

    def test_accounting(self):
        self.need("mariadbd", "slurmdbd")
        self.sandbox.up("--accounting", "--max-submit-jobs", "1", "--nodes", "1")
        job = self.submit(script=f"while [ ! -e {self.folder()}/go ]; do read -t 0.1 x; done < /dev/zero")
        self.assertIn("job submit limit", self.refused("sbatch", "--wrap", "true"))
        with open(f"{self.folder()}/go", "w", encoding="utf-8"):
            pass
        self.ends(job)
        before = self.sandbox.pids()
        for part in ("mariadbd", "slurmdbd"):
            self.kill(before[part])
            self.assertEqual(self.sandbox.status(check=1)["state"], "degraded")
            self.sandbox.up(check=0)
        after = self.sandbox.pids()
        self.assertEqual([part for part in after if after[part] != before[part]], ["mariadbd", "slurmdbd"])
        self.ends(job)
        self.ends(self.submit())
        os.remove(f"{self.folder()}/go")
        self.sandbox.down(check=0)
        self.check_nothing_left()

    def ends(self, job):
        """As sacct tells it, which knows of it a while later."""
        wait_until(lambda: self.sandbox.slurm("sacct", "-X", "-n", "-P", "-j", job, "-o", "state,account").strip() ==
                   "COMPLETED|trainctl", what="the job's end in sacct")

    def need(self, *programs):
        for program in programs:
            if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin"):
                self.skipTest(f"{program} is not installed: .ci/install.sh accounting")

    def test_urgent_jobs_preempt(self):
        self.sandbox.up("--nodes", "1", "--preempt-grace", "2")
        out = f"{self.sandbox.root()}/out"
        job = self.sandbox.slurm("sbatch", "--parsable", "-p", "preemptible", "--exclusive", "-o", out, "--wrap",
                                 "trap 'echo told' TERM; echo runs; while :; do read -t 0.1 x; done < /dev/zero").strip()
        wait_until(lambda: os.path.exists(out) and "runs" in read(out), what="the preemptible job's start")
        urgent = self.submit("-p", "urgent", "--exclusive")
        wait_until(lambda: self.state(urgent) == "COMPLETED", what="the urgent job's end")
        self.assertEqual(self.state(job), "PREEMPTED")
        self.assertIn("told", read(out))


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def groups_of_sandboxes():
    return [name for controller in ("freezer", "memory") for name in os.listdir(f"/sys/fs/cgroup/{controller}")
            if name.startswith(("trainctl-", "slurm_n"))]


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

"""Why a job ended that trainctl did not run: its number is enough, with Slurm's words beside what it printed."""

import json
import os
import unittest

from harness import flavour, wait_until
from runs import PYTHON, RUN_LIMIT, RunCase, folder_of, write

ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "PREEMPTED"}
NO_SUCH_JOB = "99999999"


class PlainJobs(RunCase):
    def setUp(self):
        self.folder = folder_of(self, "tc-jobs-")
        self.local = self.profile("here", via="local")

    def sbatch(self, script, *options):
        """A job of the user's own; its number."""
        path = f"{self.folder}/job{len(os.listdir(self.folder))}.sh"
        write(path, f"#!/bin/bash\n{script}\n", 0o755)
        job = self.sandbox.slurm("sbatch", "--parsable", "-n1", f"--chdir={self.folder}", *options, path).strip().split(";")[0]
        self.addCleanup(self.end, job)
        return job

    def end(self, job):
        try:
            self.sandbox.slurm("scancel", job)
        except AssertionError:
            pass  # it is over, and forgotten

    def state(self, job):
        shown = self.sandbox.slurm("squeue", "-h", "-a", "-t", "all", "-o", "%T", "-j", job).split()
        return shown[0] if shown else ""

    def ended(self, job):
        wait_until(lambda: self.state(job) in ENDED, RUN_LIMIT, f"the end of job {job}")

    def look(self, job, *options, cluster=None):
        return self.sandbox.home.json("diagnose", "--job", job, "--cluster", cluster or self.sandbox.name, *options)

    def test_a_job_with_an_error_of_its_program(self):
        script = f"echo 'step 1 loss 2.0'\n{PYTHON} -c 'raise KeyError(\"learning rate\")'"
        job = self.sbatch(script, "-J", "broken", "-o", "%x-%j.out", "-e", "%5A.err")
        self.ended(job)
        error = f"{self.folder}/{int(job):05d}.err"
        for cluster in (self.sandbox.name, self.local):  # over SSH, and without
            told = self.look(job, cluster=cluster)
            self.assertEqual((told["class"], told["action"], told["not_read"]), ("py-error", "stop", []))
            self.assertEqual((told["job"]["state"], told["job"]["exit_code"], told["job"]["name"]), ("FAILED", 1, "broken"))
            self.assertEqual((told["evidence"][0]["source"], "KeyError: 'learning rate'"), (error, told["evidence"][0]["text"]))
            self.assertEqual([log["file"] for log in told["logs"]], [f"{self.folder}/broken-{job}.out", error])
        text = self.sandbox.home.run("diagnose", "--job", job, "--cluster", self.sandbox.name, check=0).stdout
        self.assertIn(f"job {job} (broken): FAILED, NonZeroExitCode, exit code 1\n", text)
        self.assertIn("\npy-error: ", text)
        # With a file beside its own output, and with rules of one's own.
        more = f"{self.folder}/more.log"
        write(more, "the flux capacitor is empty\n")
        rules = f"{self.folder}/rules.yaml"
        write(rules, "rules:\n  - {name: flux, pattern: flux capacitor is empty, class: gpu-xid, certainty: proof, severity: 99, scope: node}\n")
        told = self.look(job, more, "--rules", rules)
        self.assertEqual((told["class"], told["evidence"][0]["source"]), ("gpu-xid", more))

    def test_a_job_that_reached_its_time_limit(self):
        job = self.sbatch("echo step 1; sleep 1000", "-t", "1")
        self.ended(job)
        told = self.look(job)
        self.assertEqual((told["class"], told["action"], told["job"]["state"]), ("time-limit", "hand-over", "TIMEOUT"))
        self.assertGreaterEqual(told["job"]["ended"] - told["job"]["started"], 60)

    def test_a_job_that_was_cancelled_and_one_that_waits(self):
        job = self.sbatch("echo begun; sleep 1000")
        wait_until(lambda: os.path.exists(f"{self.folder}/slurm-{job}.out"), RUN_LIMIT, "its output")
        self.assertEqual(self.look(job)["job"]["notes"], ["the job has not ended: what its log says so far"])
        self.sandbox.slurm("scancel", job)
        self.ended(job)
        told = self.look(job)
        self.assertEqual((told["class"], told["action"]), ("user-cancel", "stop"))
        waits = self.sbatch("true", "--hold")
        told = self.look(waits)
        self.assertEqual((told["class"], told["logs"], told["job"]["notes"]), ("none", [], ["the job has not begun: JobHeldUser"]))

    def test_output_that_is_not_there_is_told_and_slurms_words_decide(self):
        nowhere, gone = self.sbatch("exit 127", "-o", "/dev/null"), self.sbatch("exit 1", "-o", "gone-%j")
        for job in (nowhere, gone):
            self.ended(job)
        told = self.look(nowhere)
        self.assertEqual((told["class"], told["logs"]), ("launch-command", []))
        self.assertEqual(told["not_read"], ["/dev/null: it is no file of its own: nothing was kept"])
        os.remove(f"{self.folder}/gone-{gone}")
        told = self.look(gone, cluster=self.local)
        self.assertEqual(told["class"], "unknown")
        self.assertEqual(told["not_read"], [f"{self.folder}/gone-{gone}: there is no such file, or you may not look into its folder"])

    def test_tasks_of_an_array_by_their_numbers_and_the_first_bad_one_without(self):
        job = self.sbatch("test $SLURM_ARRAY_TASK_ID != 2 || { echo 'No space left on device' >&2; exit 1; }", "-a", "1-3", "-o", "%A-%2a.txt")
        wait_until(lambda: {self.state(f"{job}_{task}") for task in (1, 2, 3)} <= ENDED, RUN_LIMIT, "the end of all tasks")
        for name in (job, f"{job}_2"):
            told = self.look(name)
            self.assertEqual((told["job"]["id"], told["class"]), (f"{job}_2", "storage-full"))
            self.assertEqual(told["logs"][0]["file"], f"{self.folder}/{job}-02.txt")
        self.assertIn(f"badly ended: {job}_2; this is {job}_2", self.look(job)["job"]["notes"][0])
        self.assertEqual(self.look(f"{job}_3")["class"], "none")

    def test_a_component_of_a_heterogeneous_job_has_the_output_of_the_first(self):
        job = self.sbatch("echo 'Disk quota exceeded'; exit 3", ":", "-n1")
        self.ended(job)
        for name in (job, f"{job}+1"):
            self.assertEqual(self.look(name)["class"], "storage-quota", name)

    def test_what_is_no_job_and_what_nobody_knows(self):
        result = self.sandbox.home.run("diagnose", "--job", NO_SUCH_JOB, "--cluster", self.sandbox.name, check=1)
        self.assertEqual(result.stdout, "")
        self.assertIn(f"Slurm does not know job {NO_SUCH_JOB}", result.stderr)
        self.assertIn("accounting has no record of it" if "accounting" in flavour() else "accounting could not be asked", result.stderr)
        result = self.sandbox.home.run("diagnose", "--job", "abc", "--cluster", self.sandbox.name, check=2)
        self.assertIn("'abc' is no job of Slurm's", result.stderr)

    @unittest.skipUnless("accounting" in flavour(), "this sandbox has no accounting")
    def test_accounting_is_enough(self):
        job = self.sbatch("echo 'Disk quota exceeded'; exit 3")
        self.ended(job)
        folder = folder_of(self, "tc-bin-")
        write(f"{folder}/scontrol", "#!/bin/sh\necho 'slurm_load_jobs error: Invalid job id specified' >&2\nexit 1\n", 0o755)
        forgets = self.profile("forgets", environment={"PATH": f"{folder}:/usr/bin:/bin"})
        told = wait_until(lambda: json.loads(self.sandbox.home.run("diagnose", "--job", job, "--cluster", forgets, "--json").stdout or "null"),
                          RUN_LIMIT, "a record of accounting")
        self.assertEqual((told["class"], told["job"]["said_by"], told["job"]["state"]), ("storage-quota", "sacct", "FAILED"))


if __name__ == "__main__":
    unittest.main()

"""What a user sees and what reaches the cluster: the code, secrets, scripts, logs, JSON, and errors that help."""

import glob
import json
import os
import re
import signal
import socket
import stat
import subprocess
import tempfile
import unittest

from harness import TRAINCTL, wait_until
from runs import RUN_LIMIT, RunCase, command_name, folder_of, kill, parents, write

SECRET_NAME = "E2E_SECRET"
SECRET = "s3cr3t-value-of-a-test"


def content(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def steps_of(text):
    return [int(step) for step in re.findall(r"step (\d+) loss", text)]


class OutputTest(RunCase):
    def test_a_secret_reaches_the_ranks_and_nothing_else(self):
        run = self.make("secret", "--dump-env", "{folder}/env", steps=4000, environment__secrets=[SECRET_NAME])
        self.assertIn(SECRET_NAME, run.command("submit", run.file, check=2).stderr)
        shown = run.submit(env={SECRET_NAME: SECRET})
        run.wait_step(5)
        for rank in range(2):
            with open(f"{run.folder}/env.1.{rank}.json", encoding="utf-8") as file:
                self.assertEqual(json.load(file).get(SECRET_NAME), SECRET)
        spoken = [shown.stdout, shown.stderr, run.text(), json.dumps(run.status("--no-act")),
                  run.command("logs", run.id, "--all").stdout,
                  self.sandbox.slurm("scontrol", "show", "job", str(run.job())),
                  self.sandbox.slurm("scontrol", "write", "batch_script", str(run.job()), "-"), *command_lines()]
        self.assertFalse([text[:200] for text in spoken if SECRET in text])
        holders = list(files_with(run.dir, SECRET)) + list(files_with(self.sandbox.home.path, SECRET))
        self.assertEqual({os.path.basename(path) for path in holders}, {"secrets.json"})
        for path in holders:
            self.assertEqual(os.stat(path).st_mode & 0o077, 0, path)
        run.command("cancel", run.id, check=0)
        self.assertEqual(list(files_with(run.dir, SECRET)), [])
        self.assertIn(SECRET_NAME, run.command("resume", run.id, check=2).stderr)
        self.assertEqual(run.status()["state"], "stopped")
        run.command("resume", run.id, check=0, env={SECRET_NAME: SECRET})
        attempt = run.wait_step(1, attempt=2)["attempt"]
        with open(f"{run.folder}/env.{attempt}.0.json", encoding="utf-8") as file:
            self.assertEqual(json.load(file).get(SECRET_NAME), SECRET)
        run.command("cancel", run.id, check=0)
        self.assertEqual(list(files_with(run.dir, SECRET)), [])

    def test_what_was_rendered_is_what_was_submitted(self):
        run = self.start("rendered", steps=5)
        rendered = run.command("render", run.file, "--run", run.id, check=0).stdout
        # Where the cluster's root and agent are known only there, render says so the same way for each run.
        self.assertEqual(rendered, run.read("attempts/001/script.sbatch"))

    def test_code_with_uncommitted_edits_is_sent_once(self):
        with tempfile.TemporaryDirectory() as folder:
            git = ["git", "-C", folder, "-c", "user.name=t", "-c", "user.email=t@example.org"]
            write(f"{folder}/train.sh", "echo committed\n")
            write(f"{folder}/.gitignore", "ignored\n")
            for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
                subprocess.run(git + arguments, check=True, timeout=30)
            write(f"{folder}/train.sh", "echo edited in $PWD; cat new.txt\n")
            write(f"{folder}/new.txt", f"a new file {folder}\n")  # no other test's archive is the same
            write(f"{folder}/ignored", "never sent\n")
            runs = [self.make(name, code__path=folder, launch__per_node=1, launch__command=["sh", "train.sh"])
                    for name in ("coded", "recoded")]
            first = runs[0].submit("--wait")
            second = runs[1].submit("--wait")
        self.assertIn("of code", first.stderr)
        self.assertNotIn("of code", second.stderr)
        for run in runs:
            log = run.command("logs", run.id, check=0).stdout
            self.assertIn(f"edited in {run.dir}/work", log)
            self.assertIn("a new file", log)
            self.assertEqual(sorted(os.listdir(f"{run.dir}/work")), [".gitignore", "new.txt", "train.sh"])
            self.assertIn("with uncommitted edits", run.text())
            self.assertIn("+echo edited", run.read("code.diff"))

    def test_logs_follow_across_attempts_and_json_has_a_format(self):
        run = self.start("followed", "--crash-at", "15", "--crash-attempts", "1", steps=30)
        followed = run.command("logs", "-f", "--attempt", "1", run.id, check=0)
        for attempt in (1, 2):
            self.assertIn(f"==> attempt {attempt}, g01/n", followed.stdout)
        for step in (1, 14, 30):
            self.assertIn(f"step {step} loss", followed.stdout)
        self.assertIn("finished", followed.stderr)
        newest = run.command("logs", run.id, check=0).stdout
        self.assertIn("step 30 loss", newest)
        self.assertNotIn("step 5 loss", newest)
        status = self.sandbox.home.json("status", run.id)
        self.assertEqual((status["format"], status["run"], status["state"]), (1, run.id, "finished"))
        self.assertEqual([attempt["no"] for attempt in status["attempts"] if attempt["owner"]], [1, 2])
        listed = self.sandbox.home.json("list", "--cluster", self.sandbox.name)
        self.assertEqual(listed["format"], 1)
        self.assertIn((run.id, "finished"), [(entry["run"], entry["state"]) for entry in listed["runs"]])
        self.assertIn(run.id, run.command("list", "--cluster", self.sandbox.name, check=0).stdout)

    def test_logs_follow_through_a_link_that_breaks_and_lose_and_repeat_no_line(self):
        root = folder_of(self, "tc-root-")  # of its own: the process that serves this link is found by it
        run = self.start("relinked", "--crash-at", "70", "--crash-attempts", "1", steps=90, step_time=0.15,
                         cluster=self.profile("relinked", root=root), root=root)
        run.wait_step(5)
        said = f"{run.folder}/followed"
        with open(said, "w", encoding="utf-8") as file:
            client = subprocess.Popen([TRAINCTL, "logs", "-f", "--tail", "3", run.id], env=run.home.env, stdin=subprocess.DEVNULL, stdout=file,
                                      stderr=subprocess.STDOUT)
        self.addCleanup(client.kill)
        wait_until(lambda: steps_of(content(said)), RUN_LIMIT, "lines of the logs")
        desk = next(pid for pid, arguments in run.processes(root).items() if "desk" in arguments)
        client.send_signal(signal.SIGSTOP)  # it comes back when the next attempt is well on its way
        kill(next(pid for pid in parents(desk) if command_name(pid) == "sshd"))
        run.wait_step(75, attempt=2)
        client.send_signal(signal.SIGCONT)
        self.assertEqual(client.wait(timeout=RUN_LIMIT), 0, content(said))
        first, second = (steps_of(content(path)) for path in sorted(glob.glob(f"{run.dir}/attempts/*/logs/g01/*.log")))
        shown = steps_of(content(said))
        self.assertGreater(shown[0], 1)
        self.assertEqual(shown, first[first.index(shown[0]):] + second)

    def test_a_job_that_can_never_start_is_told_at_once(self):
        for name, keys, why in (("parted", {"resources__partition": "down"}, "DOWN"),
                                ("long", {"resources__partition": "short", "resources__time": "3h"}, "allows"),
                                ("large", {"resources__nodes": 50}, "50 nodes")):
            with self.subTest(name):
                run = self.make(name, **keys)
                result = run.submit(check=1)
                self.assertIn(why, result.stderr)
                self.assertIn("hint:", result.stderr)
                if run.id:
                    run.command("cancel", run.id, check=0)
                    self.check_nothing_left(run)

    def test_a_torn_journal_line_is_told_and_harms_nothing(self):
        run = self.start("torn", steps=5)
        run.wait_end()
        name = sorted(os.listdir(f"{run.dir}/journal"))[0]
        text = run.read(f"journal/{name}")
        lines = text.splitlines(keepends=True)
        write(f"{run.dir}/journal/{name}", lines[0][:20] + "\n" + "".join(lines[1:]) + '{"torn at the e')
        shown = run.command("status", run.id, check=0).stdout
        self.assertIn("finished", shown)
        self.assertIn(f"{name}:1", "".join(shown.split()))
        self.assertEqual(len(run.status()["journal_problems"]), 1)


class ErrorTest(RunCase):
    """Nothing reaches the cluster, and the message says what to do."""

    def refuse(self, cluster, code, *words):
        run = self.make(f"to-{cluster}"[:30], cluster=cluster)
        result = run.command("submit", run.file)
        self.assertEqual(result.returncode, code, result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)
        self.assertIn("hint:", result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertEqual(run.ids(), [])
        return result.stderr

    def ssh_config(self, **changes):
        with open(self.sandbox.known()["ssh_config"], encoding="utf-8") as file:
            text = file.read()
        lines = []
        for line in text.splitlines():
            key = line.split()[0] if line.split() else ""
            lines.append(f"  {key} {changes.pop(key)}" if key in changes else line)
        folder = tempfile.mkdtemp(prefix="tc-ssh-")
        self.addCleanup(subprocess.run, ["rm", "-r", folder], check=True, timeout=10)
        write(f"{folder}/config", "\n".join(lines) + "\n")
        return f"{folder}/config"

    def test_nobody_listens(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.refuse(self.profile("closed", ssh_config=self.ssh_config(Port=port)), 4, str(port))

    def test_the_key_is_refused(self):
        folder = tempfile.mkdtemp(prefix="tc-key-")
        self.addCleanup(subprocess.run, ["rm", "-r", folder], check=True, timeout=10)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/key"], check=True, timeout=30)
        self.refuse(self.profile("keyless", ssh_config=self.ssh_config(IdentityFile=f"{folder}/key")), 4)

    def test_another_host_key(self):
        folder = tempfile.mkdtemp(prefix="tc-key-")
        self.addCleanup(subprocess.run, ["rm", "-r", folder], check=True, timeout=10)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/key"], check=True, timeout=30)
        with open(self.sandbox.known()["ssh_config"], encoding="utf-8") as file:
            known = [line.split()[1] for line in file if "UserKnownHostsFile" in line][0]
        with open(known, encoding="utf-8") as file, open(f"{folder}/key.pub", encoding="utf-8") as key:
            write(f"{folder}/known", f"{file.read().split()[0]} {' '.join(key.read().split()[:2])}\n")
        self.refuse(self.profile("swapped", ssh_config=self.ssh_config(UserKnownHostsFile=f"{folder}/known")), 4, "key")

    def test_there_is_no_sbatch(self):
        folder = tempfile.mkdtemp(prefix="tc-path-")
        self.addCleanup(subprocess.run, ["rm", "-r", folder], check=True, timeout=10)
        os.symlink("/usr/bin/uname", f"{folder}/uname")
        self.refuse(self.profile("bare", {"PATH": folder}), 1, "sbatch")

    def test_the_root_can_not_be_written(self):
        self.refuse(self.profile("unwritable", root="/proc/trainctl"), 1, "/proc/trainctl")

    def test_the_root_is_full(self):
        if os.getuid() != 0:
            self.skipTest("only root can mount a small tmpfs")
        folder = tempfile.mkdtemp(prefix="tc-full-")
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, timeout=10,
                          check=False).returncode != 0:
            os.rmdir(folder)
            self.skipTest("a tmpfs can't be mounted here")
        self.addCleanup(os.rmdir, folder)
        self.addCleanup(subprocess.run, ["umount", folder], check=True, timeout=10)
        self.refuse(self.profile("full", root=folder), 1, "space")


def command_lines():
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    yield file.read().decode(errors="replace")
            except OSError:
                continue


def files_with(folder, text):
    """Whole files, whatever their size."""
    for path, _, names in os.walk(folder):
        for name in names:
            file = os.path.join(path, name)
            try:
                mode = os.stat(file).st_mode
                # munged's lock is a file that its owner may only write.
                if stat.S_ISREG(mode) and mode & stat.S_IRUSR and holds(file, text.encode()):
                    yield file
            except FileNotFoundError:  # of another run, that has ended
                continue


def holds(path, text, piece_size=1 << 22):
    with open(path, "rb") as file:
        rest = b""
        while piece := file.read(piece_size):
            if text in rest + piece:
                return True
            rest = piece[-len(text) + 1:]
    return False


if __name__ == "__main__":
    unittest.main()

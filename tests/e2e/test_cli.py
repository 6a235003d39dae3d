"""The command line itself, on the real cluster and without any: help, JSON, exit codes, interrupts, odd ways to be started."""

import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

from harness import TRAINCTL, Home, wait_until
from runs import HERE, RUN_LIMIT, RunCase, folder_of, write


def commands():
    """Every command's words, from the one list of them."""
    with open(f"{HERE}/../../cli/commands.h", encoding="utf-8") as file:
        names = re.findall(r"^    add_(\w+),$", file.read(), re.M)
    with open(f"{HERE}/../../cli/commands/sandbox.cpp", encoding="utf-8") as file:
        verbs = re.findall(r'invocation, options, {"(\w+)"', file.read())
    return [[name.replace("_", "-")] for name in names] + [["sandbox", verb] for verb in verbs]


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class WithoutCluster(unittest.TestCase):
    def setUp(self):
        self.home = Home()
        self.addCleanup(self.home.remove)

    def test_every_command_has_help_with_an_example(self):
        self.assertGreater(len(commands()), 14)
        for words in commands():
            with self.subTest(" ".join(words)):
                shown = self.home.run(*words, "--help", check=0)
                self.assertEqual(shown.stderr, "")
                self.assertRegex(shown.stdout, r"\nExamples?:\n  (\S.*)?trainctl ")
                for line in shown.stdout.splitlines():
                    self.assertLessEqual(len(line), 80)

    def refuse(self, words, *said, code=2):
        result = self.home.run(*words, check=code)
        self.assertEqual(result.stdout, "")
        for text in said:
            self.assertIn(text, result.stderr)

    def test_what_is_no_experiment_file_is_refused_and_read_to_a_limit(self):
        self.refuse(["check", "/dev/zero"], "/dev/zero: has more than", "no experiment file")
        self.refuse(["check", self.home.path], "this is a folder")
        self.refuse(["check", f"{self.home.path}/none.yaml"], "there is no such file")
        file = f"{self.home.path}/a.yaml"
        write(file, "name: a\nresources: {nodes: 1}\nlaunch: {command: x}\ntemplate: /dev/zero\n")
        self.refuse(["check", file], f"{file}:4:1: /dev/zero: has more than")
        rules = f"{self.home.path}/rules.yaml"
        write(file, "name: a\nresources: {nodes: 1}\nlaunch: {command: x}\nrecovery:\n  rules: rules.yaml\n")
        self.refuse(["check", file], f"{file}:5:3: {rules}: there is no such file")
        write(rules, "rules:\n  - name: a\n    pattern: '('\n    class: hang\n    sevrity: 3\n")
        self.refuse(["check", file], f"{rules}:3:14: RE2 does not take this pattern", f"{rules}:5:5: there is no key 'sevrity' here")
        write(file, "#" * 300_000)
        self.refuse(["check", file], "no experiment file")

    def test_ranges_of_options_read_well(self):
        for words, said in ((["logs", "--tail", "-1"], "--tail: must be a whole number from 0 to 1000000000, not '-1'"),
                            (["logs", "--tail", "ten"], "not 'ten'"), (["logs", "--attempt", "0"], "from 1 to 999999, not '0'")):
            self.refuse(words, said, "hint: trainctl logs --help")

    def test_render_asks_an_ssh_cluster_for_its_home_only_where_it_must(self):
        os.makedirs(f"{self.home.env['XDG_CONFIG_HOME']}/trainctl")
        profiles = {"home": {"via": "ssh", "host": "h", "root": "~/runs"}, "absolute": {"via": "ssh", "host": "h", "root": "/runs"}}
        ssh = f"{self.home.path}/ssh_config"
        write(ssh, f"Host h\n  HostName 127.0.0.1\n  Port {closed_port()}\n")
        for profile in profiles.values():
            profile["ssh_config"] = ssh
        write(f"{self.home.env['XDG_CONFIG_HOME']}/trainctl/clusters.yaml", json.dumps({"clusters": profiles}))
        file = f"{self.home.path}/a.yaml"
        write(file, "name: a\ncluster: absolute\nresources: {nodes: 1}\nlaunch: {command: x}\n")
        first, second = (self.home.run("render", file, check=0).stdout for _ in range(2))
        self.assertEqual(first, second)
        self.assertIn("/runs/runs/a-preview", first)
        self.refuse(["render", file, "--set", "cluster=home"], "hint: with an absolute `root`", code=4)


class OnTheCluster(RunCase):
    def test_render_is_what_is_submitted_where_the_root_is_in_the_home_folder(self):
        home = pwd.getpwuid(os.getuid()).pw_dir  # as sshd gives it
        root = tempfile.mkdtemp(prefix="tc-root-", dir=home)
        self.addCleanup(shutil.rmtree, root, ignore_errors=True)
        run = self.make("homely", cluster=self.profile("homely", root=f"~/{os.path.basename(root)}"), root=root, steps=5)
        before = run.command("render", run.file, "--run", "homely-aaaaa", check=0).stdout
        self.assertIn(f"{root}/runs/homely-aaaaa", before)
        run.submit("--wait")
        self.assertEqual(before.replace("homely-aaaaa", run.id), run.read("attempts/001/script.sbatch"))

    def test_every_json_is_an_object_with_its_format(self):
        run = self.make("formats", steps=4000, recovery__in_place="on")
        shown = {}

        def look(*words, code=0):
            shown[" ".join(words[:2] if words[0] == "sandbox" else words[:1])] = run.command(*words, "--json", check=code).stdout

        look("check", run.file)
        look("version")
        look("render", run.file)
        for verb in ("status", "up", "env"):
            look("sandbox", verb, "--name", self.sandbox.name)
        look("submit", run.file)
        run.id = json.loads(shown["submit"])["run"]
        run.wait_step(3)
        look("status", run.id)
        look("list", "--cluster", self.sandbox.name)
        look("logs", run.id, "--tail", "2")
        look("diagnose", run.file)
        look("explain", run.id)
        look("nodes", "--cluster", self.sandbox.name)
        look("drill", run.id, "crash", "--no-wait")
        look("checkpoint-now", run.id, "--no-wait")
        look("checkpoints", run.id)
        look("stop", run.id)
        for key in ("code.path=.", "template=other", "name=other", "cluster=other"):
            self.assertIn("can't be changed in a run that is there", run.command("resume", run.id, "--set", key, check=2).stderr)
        look("resume", run.id, "--set", "recovery.max_attempts=40")
        self.assertIn("max_attempts: 40", run.read("experiment.yaml"))
        look("cancel", run.id)
        self.assertEqual(set(shown), {" ".join(words) for words in commands() if "--json" in self.sandbox.home.run(*words, "--help").stdout})
        for command, text in shown.items():
            with self.subTest(command):
                for value in map(json.loads, text.splitlines()) if command == "logs" else [json.loads(text)]:
                    self.assertEqual(value["format"], 1)

    def test_the_beginning_of_an_id_is_enough_where_it_is_the_only_one(self):
        begin = f"b{os.urandom(3).hex()}"
        run, other = (self.start(name, steps=5) for name in (begin, f"{begin}ning"))
        for word, wanted in ((run.id, run), (run.id[:-2], run), (f"{begin}n", other)):
            self.assertEqual(json.loads(run.command("status", word, "--json").stdout)["run"], wanted.id)
        self.assertIn("2 runs begin with", run.command("status", begin, check=2).stderr)
        # From a machine that has submitted nothing the cluster has to be named, and looks itself.
        elsewhere = {"XDG_STATE_HOME": folder_of(self, "tc-state-")}
        there = ["--cluster", self.sandbox.name]
        found = run.command("status", f"{begin}n", "--json", *there, env=elsewhere)
        self.assertEqual(json.loads(found.stdout)["run"], other.id)
        self.assertIn(f"2 runs begin with '{begin}'", run.command("status", begin, *there, check=1, env=elsewhere).stderr)
        self.assertIn("no run was submitted from this machine", run.command("status", check=2, env=elsewhere).stderr)
        self.assertIn("hint: no such run was submitted from this machine: --cluster",
                      run.command("status", "nobody", check=1, env={**elsewhere, "HOME": elsewhere["XDG_STATE_HOME"]}).stderr)
        self.assertIn("there is no run 'nobody'", run.command("status", "nobody", *there, check=1, env=elsewhere).stderr)

    def ssh_config(self, **changes):
        with open(self.sandbox.known()["ssh_config"], encoding="utf-8") as file:
            text = file.read()
        for key, value in changes.items():
            text = re.sub(rf"^(\s*){key} .*$", rf"\g<1>{key} {value}", text, flags=re.M)
        path = f"{folder_of(self, 'tc-ssh-')}/config"
        write(path, text)
        return path

    def test_a_cluster_out_of_reach_is_4_and_a_folder_that_is_denied_there_is_not(self):
        run = self.make("far")
        key = f"{folder_of(self, 'tc-key-')}/key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=30)
        far = [self.profile("closed", ssh_config=self.ssh_config(Port=closed_port())),
               self.profile("keyless", ssh_config=self.ssh_config(IdentityFile=key))]
        for cluster in far:
            for words in (["list"], ["status", "x-1"], ["logs", "x-1"], ["logs", "-f", "x-1"], ["stop", "x-1"], ["cancel", "x-1"],
                          ["resume", "x-1"]):
                with self.subTest(f"{cluster} {words}"):
                    result = run.command(*words, "--cluster", cluster, check=4)
                    self.assertIn("error:", result.stderr)
                    self.assertEqual(result.stdout, "")

    def test_a_job_that_slurm_holds_is_told_right_after_it_was_submitted(self):
        run = self.make("held", resources__sbatch=["--hold"])
        result = run.submit(check=1)
        self.assertIn("it can never start: it is held by its user (JobHeldUser)", result.stderr)
        self.assertIn(f"hint: trainctl cancel {run.id}", result.stderr)
        self.assertIn("JobHeldUser", run.text())

    def interrupt(self, process, run):
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=RUN_LIMIT), 130)
        before = max(entry["step"] for entry in run.entries())
        run.wait_step(before + 3)
        self.assertEqual(run.status()["state"], "running")

    def test_ctrl_c_ends_the_command_and_leaves_the_run_alone(self):
        run = self.start_waited("waiting", steps=4000)
        run.wait_step(2)
        wait_until(lambda: "running" in run.waiting.text("err"), RUN_LIMIT, "a word about the run")
        self.interrupt(run.waiting.process, run)
        self.assertIn(f"{run.id} goes on", run.waiting.text("err"))
        out = f"{run.folder}/logs.out"
        with open(out, "w", encoding="utf-8") as file:
            following = subprocess.Popen([TRAINCTL, "logs", "-f", run.id], stdin=subprocess.DEVNULL, stdout=file,
                                         stderr=subprocess.DEVNULL, env=run.home.env)
        self.addCleanup(following.wait)
        self.addCleanup(following.kill)
        wait_until(lambda: os.path.getsize(out) > 0, RUN_LIMIT, "lines of the logs")
        self.interrupt(following, run)

    def test_standard_files_that_are_closed_at_the_start_are_nobodys(self):
        run = self.start("closed", steps=4000)
        run.wait_step(2)
        quiet = subprocess.Popen(["sh", "-c", f'exec "{TRAINCTL}" logs -f {run.id} <&- >&- 2>&-'], env=run.home.env)
        self.addCleanup(quiet.wait)
        self.addCleanup(quiet.kill)

        def connected():
            self.assertIsNone(quiet.poll())
            names = {}
            for descriptor in os.listdir(f"/proc/{quiet.pid}/fd"):
                try:
                    names[int(descriptor)] = os.readlink(f"/proc/{quiet.pid}/fd/{descriptor}")
                except OSError:
                    continue
            return names if any(name.startswith("socket:") for name in names.values()) else None

        names = wait_until(connected, RUN_LIMIT, "a connection")
        self.assertEqual([names[number] for number in range(3)], ["/dev/null"] * 3)
        self.interrupt(quiet, run)

    def test_lines_that_could_not_be_kept_are_told(self):
        # A file where the folder of the logs should be: nothing of generation 1 can be written.
        run = self.make("lossy", steps=60, environment__setup="mkdir -p ../attempts/001/logs && touch ../attempts/001/logs/g01")
        run.submit("--wait")
        lost = run.status()["attempts"][0]["progress"]["dropped_lines"]
        self.assertGreater(lost, 0)
        self.assertIn(f"{lost} lines of attempt 1 could not be written", " ".join(run.text().split()))
        self.assertIn(f"logs of attempt 1 lack {lost} lines", run.command("logs", run.id, check=0).stderr)
        said = [json.loads(line) for line in run.command("logs", run.id, "--json", check=0).stdout.splitlines()]
        self.assertIn({"attempt": 1, "lines": lost}, [line.get("dropped") for line in said])


if __name__ == "__main__":
    unittest.main()

"""Runs of the test training (trainer.py) on a sandbox: written as experiment files, submitted, looked at, hurt."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import lineage
from harness import TRAINCTL, goes_on_by_itself, processes_naming, shared_sandbox, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
RUN_LIMIT = 150  # seconds until a run is at its end, on a busy machine
SEED = "1"
GONE_LIMIT = 10  # seconds after a run's end until none of its processes lives
LOOK_EVERY = 2  # seconds between two looks of a user, on sites where a run needs them
SUBMIT_RETRY = "5s"  # how long sbatch itself may go on retrying: the sandbox's answers at once


def status_lines(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None


def write(path, text, mode=None):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    if mode is not None:
        os.chmod(path, mode)


def folder_of(test, prefix):
    folder = tempfile.mkdtemp(prefix=prefix)
    test.addCleanup(shutil.rmtree, folder, ignore_errors=True)
    return folder


def alive(pid):
    fields = status_lines(pid)
    return fields is not None and fields[0] not in "ZX"


def kill(pid, how=signal.SIGKILL):
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        pass


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def parents(pid):
    """The one that started it, that one's, and so on."""
    while fields := status_lines(pid):
        pid = int(fields[1])
        if pid <= 1:
            return
        yield pid


def command_name(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def of_node(sandbox, node):
    """Pids of what a node of this sandbox runs: slurmd's steps, agents, heads, ranks. All nodes are this machine."""
    folder, marks, found = sandbox.known()["folder"].encode(), (f"SLURMD_NODENAME={node}".encode(), f"TRAINCTL_NODE={node}".encode()), set()
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                environment = file.read()
        except OSError:
            continue
        if folder in environment and not set(environment.split(b"\0")).isdisjoint(marks) and alive(int(entry)):
            found.add(int(entry))
    found |= {above for pid in found for above in parents(pid) if command_name(above) == "slurmstepd"}
    for pid in list(found):
        found |= set(below(pid))
    return found


def below(pid):
    for child in children(pid):
        yield child
        yield from below(child)


def kill_at_once(pids, missing_ok=False):
    """All of them stop before the first one dies, so that none sees another's end. An error where one is gone already."""
    for how in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            try:
                os.kill(pid, how)
            except ProcessLookupError:
                if not missing_ok:
                    raise


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


class Run:
    """One run of trainer.py with these options, {folder} in them being self.folder; `resources__nodes=2` and the like
    set keys of the experiment."""

    def __init__(self, sandbox, name, *options, steps=40, step_time=0.05, every=10, cluster=None, root=None, **keys):
        self.sandbox, self.home, self.name, self.steps = sandbox, sandbox.home, name, steps
        self.root = root or sandbox.root()
        self.folder = tempfile.mkdtemp(prefix=f"tc-run-{name}-")
        self.lineage = f"{self.folder}/lineage"
        self.file = f"{self.folder}/{name}.yaml"
        self.id = None
        self.look_at = 0
        self.before = []
        self.before = self.ids()
        self.experiment = {
            "name": name, "cluster": cluster or sandbox.name,
            "resources": {"nodes": 1, "time": "5m", "cpus": 1},
            "launch": {"per_node": 2, "command": [
                PYTHON, "-u", f"{HERE}/trainer.py", "--steps", str(steps), "--step-time", str(step_time), "--seed", SEED,
                "--checkpoint-every", str(every), "--checkpoint-dir", "{checkpoint_dir}", "--lineage", self.lineage,
                *(option.replace("{folder}", self.folder) for option in options)]},
            "checkpoint": {"manifest": "MANIFEST", "resume_args": ["--resume", "{checkpoint}"], "save_signal": "USR1",
                           "save_time": "10s"},
            "progress": {"patterns": [r"step (?P<step>\d+) loss (?P<loss>[\d.]+) rate (?P<rate>[\d.]+)"],
                         "total_steps": steps},
            # In place is off: most tests are about what happens when an attempt is over.
            "recovery": {"standby": "on", "lease": "10s", "heartbeat": "1s", "in_place": "off",
                         # Runs of other tests have the same root.
                         "avoid_for": "0s"}}
        for path, value in keys.items():
            room, key = path.split("__")
            self.experiment.setdefault(room, {})[key] = value
        self.write()

    def write(self):
        with open(self.file, "w", encoding="utf-8") as file:
            json.dump(self.experiment, file, indent=1)  # every JSON text is YAML

    def remove(self):
        if self.id is not None:
            self.home.run("cancel", self.id)
        shutil.rmtree(self.folder, ignore_errors=True)

    def submit(self, *options, check=0, env=None):
        result = self.command("submit", self.file, *options, check=check, env=env)
        if result.stdout.strip():
            self.id = result.stdout.split()[0]
        return result

    def command(self, *arguments, check=None, env=None):
        before = self.home.env
        try:
            self.home.env = dict(before, **(env or {}))
            return self.home.run(*arguments, check=check)
        finally:
            self.home.env = before

    def ids(self):
        """Runs on the cluster that have this one's name and experiment, or a part of them."""
        try:
            names = os.listdir(f"{self.root}/runs")
        except FileNotFoundError:
            return []
        return [name for name in names if self.is_id(name) and name not in self.before]

    def is_id(self, text):
        return re.fullmatch(f"{self.name}-[a-z0-9]+", text) is not None

    def text(self):
        return self.command("status", self.id).stdout

    def status(self, *options):
        """The status; one with an error where there is none."""
        result = self.command("status", self.id, "--json", *options)
        return json.loads(result.stdout) if result.stdout else {"state": "no answer", "error": result.stderr, "attempts": []}

    @property
    def dir(self):
        return f"{self.root}/runs/{self.id}"

    def read(self, name):
        try:
            with open(f"{self.dir}/{name}", encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def record(self, name):
        text = self.read(name)
        return json.loads(text) if text else None

    def attempt_record(self, number, name):
        return self.record(f"attempts/{number:03d}/{name}")

    def entries(self):
        return lineage.read(self.lineage)[0] if os.path.exists(self.lineage) else []

    def until(self, condition, deadline, what):
        """Looks at files only, so that what goes on goes on by itself, wherever a site lets it."""
        def looked():
            if not goes_on_by_itself() and time.monotonic() > self.look_at:
                self.command("status", self.id)
                self.look_at = time.monotonic() + LOOK_EVERY
            return condition()
        return wait_until(looked, deadline, what)

    def wait_step(self, step, attempt=1):
        def reached():
            # A line may be half written while we look.
            return [entry for entry in self.entries()
                    if entry["event"] == "step" and entry["step"] >= step and entry["attempt"] >= attempt]
        return self.until(reached, RUN_LIMIT, f"step {step} of {self.id}, attempt {attempt}")[0]

    def wait_generation(self, number, attempt=1):
        """Until this generation is told of in the journal; what it says."""
        def begun():
            return [event for event in self.events("generation_started")
                    if (event["attempt"], event["generation"]) == (attempt, number)]
        return self.until(begun, RUN_LIMIT, f"generation {number} of {self.id}")[0]

    def wait_standby(self):
        """Until the attempt behind the one that trains waits in the queue; nothing where a site refuses that."""
        if not goes_on_by_itself():
            return None
        return wait_until(lambda: [job for job, (_, state) in self.jobs().items() if state == "PENDING"], what="a standby")[0]

    def wait_end(self, state="finished"):
        self.until(lambda: self.record("ended.json"), RUN_LIMIT, f"the end of {self.id}")
        status = self.status()
        if status["state"] != state:
            raise AssertionError(f"{self.id} is {status['state']}, not {state}\n{self.text()}")
        return status

    def events(self, name):
        """What the run's journal says of these events, in the order of their writing."""
        found = []
        for file in sorted(os.listdir(f"{self.dir}/journal")):
            with open(f"{self.dir}/journal/{file}", encoding="utf-8") as lines:
                found += [json.loads(line) for line in lines if line.endswith("\n")]
        found.sort(key=lambda event: event["wall_ms"])
        return [dict(event["data"], attempt=event["attempt"]) for event in found if event["event"] == name]

    def jobs(self, *options):
        """{job: (name, state)} of this run's jobs that Slurm has not ended, or with options of squeue others."""
        lines = self.sandbox.slurm("squeue", "-h", "-o", "%i|%j|%T", *options).splitlines()
        found = [line.split("|") for line in lines]
        return {int(job): (name, state) for job, name, state in found if name.startswith(f"tc-{self.id}-")}

    def job(self, number=1):
        return self.attempt_record(number, "job.json")["job"]

    def rank(self, rank=0, attempt=1):
        """Pid of a rank of this attempt."""
        return [entry["pid"] for entry in self.entries() if entry["rank"] == rank and entry["attempt"] == attempt][-1]

    def processes(self, text=None):
        """{pid: arguments} of what works for this run on the cluster."""
        found = {}
        for pid in processes_naming(text or self.id):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    arguments = file.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            if alive(pid):
                found[pid] = arguments
        return found

    def heads(self):
        """Pids of heads of its attempts."""
        return [pid for pid, arguments in self.processes().items()
                if "trainctl-agent" in os.path.basename(arguments[0]) and arguments[1:2] == ["run"]]

    def head(self):
        """Pid of the attempt's head."""
        return wait_until(self.heads, what="a head")[0]

    def newest_checkpoint(self):
        try:
            names = os.listdir(f"{self.dir}/checkpoints")
        except FileNotFoundError:
            return 0
        return max((int(name[5:]) for name in names if re.fullmatch(r"step-\d+", name)), default=0)


class Waiting:
    """A `submit --wait` in the background. Its output goes to files, which never fill up."""

    def __init__(self, run):
        self.run = run
        with open(f"{run.folder}/wait.out", "w", encoding="utf-8") as out, open(f"{run.folder}/wait.err", "w", encoding="utf-8") as err:
            self.process = subprocess.Popen([TRAINCTL, "submit", "--wait", run.file], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=run.home.env)

    def text(self, name):
        with open(f"{self.run.folder}/wait.{name}", encoding="utf-8") as file:
            return file.read()

    def run_id(self):
        wait_until(lambda: self.text("out").endswith("\n") or self.process.poll() is not None, RUN_LIMIT, "an answer of submit")
        if not self.text("out"):
            raise AssertionError(f"submit ended with {self.process.returncode}: {self.text('err')}")
        return self.text("out").split()[0]

    def result(self):
        code = self.process.wait(timeout=RUN_LIMIT)
        return subprocess.CompletedProcess(self.process.args, code, self.text("out"), self.text("err"))

    def kill(self):
        self.process.kill()
        self.process.wait()


class RunCase(unittest.TestCase):
    """Tests of runs on the shared sandbox."""

    agent = None  # another agent than TRAINCTL_AGENT

    @classmethod
    def setUpClass(cls):
        cls.sandbox, owned = shared_sandbox()
        if owned:
            cls.addClassCleanup(cls.sandbox.home.remove)
            cls.addClassCleanup(cls.sandbox.down)
        if cls.agent:
            cls.sandbox.home.env = dict(cls.sandbox.home.env, TRAINCTL_AGENT=cls.agent)
        cls.own_profiles()

    @classmethod
    def own_profiles(cls):
        """A copy of the clusters' profiles: tests that add some run beside each other."""
        folder = tempfile.mkdtemp(prefix="tc-config-")
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        before = cls.sandbox.home.env
        shutil.copytree(f"{before['XDG_CONFIG_HOME']}/trainctl", f"{folder}/trainctl")
        path = f"{folder}/trainctl/clusters.yaml"
        with open(path, encoding="utf-8") as file:
            text = re.sub(r"^ *submit_retry:.*\n", "", file.read(), flags=re.MULTILINE)
        write(path, re.sub(r"^( +)via:.*\n", rf"\g<0>\1submit_retry: {SUBMIT_RETRY}\n", text, flags=re.MULTILINE))
        cls.sandbox.home.env = dict(before, XDG_CONFIG_HOME=folder)

    def make(self, name, *options, **more):
        run = Run(self.sandbox, name, *options, **more)
        self.addCleanup(self.tell_and_remove, run)
        return run

    def start(self, name, *options, **more):
        run = self.make(name, *options, **more)
        run.submit()
        return run

    def start_waited(self, name, *options, **more):
        """Its `submit --wait` goes on beside the test; the run has an id when this is back."""
        run = self.make(name, *options, **more)
        run.waiting = Waiting(run)
        self.addCleanup(run.waiting.kill)
        run.id = run.waiting.run_id()
        return run

    def check_waited(self, run, code=0):
        """How `submit --wait` ended; what it told."""
        result = run.waiting.result()
        self.assertEqual((result.returncode, result.stdout.strip()), (code, run.id), result.stderr)
        return result.stderr

    def profile(self, name, environment=None, **more):
        """Adds a cluster like the sandbox, but for these keys, for the length of the test; its name."""
        path = f"{self.sandbox.home.env['XDG_CONFIG_HOME']}/trainctl/clusters.yaml"
        with open(path, encoding="utf-8") as file:
            before = file.read()
        self.addCleanup(write, path, before)
        status = self.sandbox.known()
        keys = {"via": "ssh", "host": self.sandbox.name, "ssh_config": status["ssh_config"], "root": self.sandbox.root(),
                "submit_retry": SUBMIT_RETRY, "environment": {"SLURM_CONF": status["slurm_conf"], **(environment or {})}, **more}
        if keys["via"] == "local":
            del keys["host"], keys["ssh_config"]
        write(path, before.rstrip("\n") + f"\n  {name}: {json.dumps(keys)}\n")
        return name

    def tell_and_remove(self, run):
        """What a failed test needs to be understood, then nothing of the run is left."""
        result = self._outcome.result
        failed = [test for test, _ in result.failures + result.errors if self in (test, getattr(test, "test_case", None))]
        if failed and run.id:
            print(f"--- {run.id}\n{run.text()}", file=sys.stderr)
            for number in range(1, 9):
                for name in ("logs/agent.log", "outcome.json", "verdict.json"):
                    text = run.read(f"attempts/{number:03d}/{name}")
                    if text:
                        print(f"--- attempt {number} {name}\n{text[-3000:]}", file=sys.stderr)
        run.remove()

    def check_agent(self, run):
        """The run's agent is the one that this test is about, to the byte."""
        wanted = sha256_of(self.sandbox.home.env.get("TRAINCTL_AGENT") or f"{os.path.dirname(TRAINCTL)}/trainctl-agent")
        name = f"{run.record('run.json')['agent']}-{os.uname().machine}"
        self.assertEqual(os.path.basename(name).split("-")[2], wanted[:16])
        self.assertEqual(sha256_of(name), wanted)
        self.assertEqual(sha256_of(f"/proc/{run.head()}/exe"), wanted)

    def check_lineage(self, run, steps=None):
        self.assertEqual(lineage.check(run.lineage, steps or run.steps, SEED), [])

    def resumes(self, run):
        """[(attempt, step it began from)]"""
        return [(attempt, step) for attempt, _, step in lineage.resumes(run.lineage)]

    def check_nothing_left(self, run):
        wait_until(lambda: not run.jobs(), GONE_LIMIT, "an empty queue")
        wait_until(lambda: not run.processes(), GONE_LIMIT, f"the end of {run.id}'s processes")

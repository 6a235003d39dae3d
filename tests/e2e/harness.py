"""What end-to-end tests share: the programs under test, a home of their own, a sandbox, waiting for conditions.

The programs come from the environment: TRAINCTL (needed), TRAINCTL_AGENT, TRAINCTL_RELEASE_DIR. TRAINCTL_SANDBOX_HOME is
the home of the sandbox that several tests share; without it a test makes its own. TRAINCTL_SANDBOX_FLAVOUR says which
kind of cluster that is: words of FLAVOURS with commas between them, such as "strict,accounting".
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

TRAINCTL = os.environ.get("TRAINCTL", "trainctl")
COMMAND_LIMIT = 180  # seconds: the longest that one command may take, on a busy machine
POLL = 0.05
FLAVOURS = {"plain": [], "accounting": ["--accounting"],
            "strict": ["--site", "strict"]}
SLURMD_TIMEOUT = ["--slurmd-timeout", "10"]  # tests of lost nodes can't wait for a strict site's 300 s


def wait_until(condition, deadline=60, what="the condition"):
    """Gives the first true value of condition(); an AssertionError after `deadline` seconds."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {deadline} s; the last value: {value!r}")
        time.sleep(POLL)  # between two looks, never instead of one


class Home:
    """HOME and the XDG folders of one test, so that the user's own files are never touched."""

    def __init__(self, path=None):
        self.made = path is None
        self.path = path or tempfile.mkdtemp(prefix="tc-e2e-")
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        # Nothing of an outer job or sandbox, nor of the user's ssh-agent.
        self.env = {name: value for name, value in os.environ.items()
                    if not name.startswith(("SLURM", "SBATCH", "SRUN", "TRAINCTL", "XDG_", "SSH_"))}
        self.env.update(HOME=self.path,
                        XDG_CONFIG_HOME=os.path.join(self.path, "config"),
                        XDG_STATE_HOME=os.path.join(self.path, "state"),
                        XDG_CACHE_HOME=os.path.join(self.path, "cache"))
        for name in ("TRAINCTL_AGENT", "TRAINCTL_RELEASE_DIR"):
            if name in os.environ:
                self.env[name] = os.environ[name]

    def run(self, *arguments, check=None, program=TRAINCTL, timeout=COMMAND_LIMIT, **options):
        """Runs trainctl; with check=N the exit code must be N."""
        result = subprocess.run([program, *arguments], env=self.env, timeout=timeout, text=True, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        if check is not None and result.returncode != check:
            raise AssertionError(f"{program} {' '.join(arguments)}: exit code {result.returncode}, not {check}\n"
                                 f"stdout:\n{result.stdout}\nstderr:\n{result.stderr}")
        return result

    def json(self, *arguments, check=0):
        return json.loads(self.run(*arguments, "--json", check=check).stdout)

    def remove(self):
        if self.made:
            shutil.rmtree(self.path, ignore_errors=True)


class Sandbox:
    """A sandbox of this name in this home."""

    def __init__(self, home, name="sandbox"):
        self.home = home
        self.name = name
        self._record = None

    def up(self, *options, check=0):
        return self.home.run("sandbox", "up", "--name", self.name, *options, check=check)

    def down(self, check=0):
        return self.home.run("sandbox", "down", "--name", self.name, check=check)

    def status(self, check=None):
        return json.loads(self.home.run("sandbox", "status", "--name", self.name, "--json", check=check).stdout)

    def pids(self):
        return {part["name"]: part["pid"] for part in self.status()["parts"]}

    def root(self):
        """Where its runs lie."""
        return self.known()["root"]

    def known(self):
        """Its status once: what does not change while it is up."""
        if self._record is None:
            self._record = self.status()
        return self._record

    def slurm(self, *command, check=0):
        """One of Slurm's own commands against this sandbox."""
        env = dict(self.home.env, SLURM_CONF=self.known()["slurm_conf"])
        result = subprocess.run(command, env=env, timeout=COMMAND_LIMIT, text=True, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if result.returncode != check:
            raise AssertionError(f"{command}: exit code {result.returncode}: {result.stderr}")
        return result.stdout

    def ssh(self, line, check=0):
        status = self.status()
        return self.home.run("-F", status["ssh_config"], status["ssh_host"], line, program="ssh", check=check).stdout


def flavour():
    return os.environ.get("TRAINCTL_SANDBOX_FLAVOUR", "plain").split(",")


def flavour_options():
    """What `sandbox up` gets besides its nodes."""
    return [option for word in flavour() for option in FLAVOURS[word]]


def goes_on_by_itself():
    """False where a site refuses standbys and sbatch from nodes: a run needs a command of its user for its next attempt."""
    return "strict" not in flavour()


def shared_sandbox():
    """The sandbox that the fixture e2e.sandbox_up started, or one that the caller has to end: (sandbox, owned)."""
    shared = os.environ.get("TRAINCTL_SANDBOX_HOME") or None
    sandbox = Sandbox(Home(shared), "e2e")
    if not shared:
        sandbox.up("--nodes", "8", *flavour_options(), *SLURMD_TIMEOUT)
    return sandbox, not shared


def processes_naming(text):
    """Processes, other than this one and those above it, whose arguments or environment hold `text`."""
    above = set()
    pid = os.getpid()
    while pid > 1:
        above.add(pid)
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            pid = int(stat.read().rpartition(")")[2].split()[1])
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in above:
            continue
        for name in ("cmdline", "environ"):
            try:
                with open(f"/proc/{entry}/{name}", "rb") as file:
                    content = file.read().decode(errors="replace")
            except OSError:
                continue
            if text in content:
                found[int(entry)] = content.replace("\0", " ")[:200]
    return found


def main():
    """`harness.py up|down` starts and ends the shared sandbox: ctest's fixture."""
    sandbox = Sandbox(Home(os.environ["TRAINCTL_SANDBOX_HOME"]), "e2e")
    if sys.argv[1:] == ["up"]:
        print(sandbox.up("--nodes", "8", *flavour_options(), *SLURMD_TIMEOUT).stdout)
    elif sys.argv[1:] == ["down"]:
        print(sandbox.down().stdout)
        shutil.rmtree(sandbox.home.path, ignore_errors=True)
    else:
        sys.exit("usage: harness.py up|down")


if __name__ == "__main__":
    main()

"""Failures of many kinds, each with the decision that is right for it, and what `explain`, `nodes` and `diagnose` tell."""

import os
import shutil
import signal
import tempfile
import unittest

from harness import wait_until
from runs import RUN_LIMIT, RunCase, folder_of, kill, write
from test_in_place import InPlaceCase, all_at_once

PYTHON = "/usr/bin/python3"
OWN_RULES = """\
classes:
  - {name: flux, what: It is empty., why: Only a person can fill it., action: stop, restart: deterministic}
rules:
  - {name: flux-empty, pattern: flux capacitor is empty, class: flux, certainty: proof, hint: Fill the flux capacitor.}
"""
OVER_LIMIT = "ulimit -v 400000; exec /usr/bin/python3 -c 'print(\"step 1 loss 1 rate 1\", flush=True); bytearray(1 << 30)'"


class Decisions(InPlaceCase):
    def test_each_failure_has_the_decision_that_is_right_for_it(self):
        names = ("missing", "same_step", "memory", "corrupt", "twice", "own_rule", "broken_rules")

        def run(name):
            return getattr(self, f"start_{name}")("why-" + name.replace("_", "-"))
        for name, begun in all_at_once(run, names).items():
            with self.subTest(name):
                getattr(self, f"check_{name}")(begun.result())

    def failures(self, run):
        """What `explain` tells of each failure, oldest first."""
        told = self.sandbox.home.json("explain", run.id)
        return [generation["failure"] for attempt in told["attempts"] for generation in attempt["generations"] if "failure" in generation]

    def check_stopped(self, run, failure_class, generations):
        """It ended for good in its first attempt, and `explain` says why, what to do, and what that saved."""
        status = run.wait_end("failed")
        self.assertEqual([attempt["no"] for attempt in status["attempts"] if attempt["owner"]], [1])
        self.assertEqual(run.attempt_record(1, "outcome.json")["generations"], generations)
        failures = self.failures(run)
        self.assertEqual([failure["class"] for failure in failures], [failure_class] * generations)
        self.assertEqual([failure["ruling"] for failure in failures], ["restart in place"] * (generations - 1) + ["stop"])
        text = run.command("explain", run.id, check=0).stdout
        self.assertIn(f"class       {failure_class} (", text)
        self.assertRegex(text, r"\n  not wasted  \d+\.\d{4} node-hours: \d+ more (try|tries) of \d+\.\d s on 1 node, ")
        print(f"{failure_class}: {text[text.index('not wasted'):].splitlines()[0]}", flush=True)
        self.assertIn(f"trainctl resume {run.id}", text)
        self.check_nothing_left(run)
        return failures[-1], text

    def begin_command(self, name, command, rules=None, check=0, **keys):
        run = self.make(name, steps=40, **{"recovery__in_place": "on", **keys})
        run.experiment["launch"]["command"] = command
        if rules:
            write(f"{run.folder}/mine.yaml", rules)
            run.experiment["recovery"]["rules"] = "mine.yaml"  # relative to the experiment
        run.write()
        run.submit(check=check)
        return run

    # A Python error at start: no second try.
    def start_missing(self, name):
        return self.begin_command(name, [PYTHON, "-c", "import no_module_of_this_name"])

    def check_missing(self, run):
        failure, text = self.check_stopped(run, "py-import", 1)
        self.assertIn("No module named 'no_module_of_this_name'", failure["evidence"][0]["text"])
        self.assertRegex(text, r"logs/g01/n\d+\.log:\d+: ")
        # The same from its log alone.
        log = f"{run.dir}/attempts/001/{failure['evidence'][0]['source']}"
        self.assertIn("py-import", self.sandbox.home.run("diagnose", log).stdout)

    # A rule and a class of the run's own: stopped at once, with the user's hint.
    def start_own_rule(self, name):
        return self.begin_command(name, ["bash", "-c", "echo the flux capacitor is empty; exit 1"], rules=OWN_RULES)

    def check_own_rule(self, run):
        _, text = self.check_stopped(run, "flux", 1)
        self.assertIn("rules       1 rule and 1 class on top of the built-in ones", text)
        self.assertIn("Fill the flux capacitor.", text)
        self.assertEqual(run.read("failure_rules.yaml"), OWN_RULES)
        policy = run.command("explain", "--policy", run.id, check=0).stdout
        self.assertIn("  flux-empty: flux where flux capacitor is empty. Fill the flux capacitor.\n", policy)
        self.assertIn("| `flux` | It is empty. | stop", policy)

    # Rules that broke after the submit: told, and the built-in ones decide.
    def start_broken_rules(self, name):
        run = self.begin_command(name, [PYTHON, "-c", "raise KeyError('flux capacitor is empty')"], rules=OWN_RULES, check=1,
                                 resources__sbatch=["--hold"])
        write(f"{run.dir}/failure_rules.yaml", "rules:\n  - name: a\n    pattern: '('\n    class: hang\n")
        self.sandbox.slurm("scontrol", "release", str(run.job()))
        return run

    def check_broken_rules(self, run):
        self.check_stopped(run, "py-error", 2)
        left_out = [event["text"] for event in run.events("failure_rules_left_out")]
        self.assertEqual(len(left_out), 1)
        self.assertIn("failure_rules.yaml:3:14: RE2 does not take this pattern", left_out[0])
        self.assertIn("left out", run.command("explain", run.id, check=0).stdout)

    # An error at the same step each time: the second one is the last.
    def start_same_step(self, name):
        return self.make_and_submit(name, "--crash-at", "15", "--crash-how", "traceback", steps=40, recovery__no_progress_max=9)

    def make_and_submit(self, name, *options, **keys):
        run = self.make(name, *options, **{"recovery__in_place": "on", **keys})
        run.submit()
        return run

    def check_same_step(self, run):
        status = run.wait_end("failed")
        self.assertIn("the same error twice at step 14, and no newer checkpoint in between: it is deterministic", status["ended"]["why"])
        failures = self.failures(run)
        self.assertEqual([failure["ruling"] for failure in failures], ["restart in place"] * (len(failures) - 1) + ["stop"])
        self.assertEqual({failure["step"] for failure in failures[-2:]}, {14})
        self.assertIn("ValueError: the data of step 15 is broken", failures[-1]["evidence"][0]["text"])
        self.check_nothing_left(run)

    # The host's memory: once may be a neighbour, twice is not.
    def start_memory(self, name):
        return self.begin_command(name, ["bash", "-c", OVER_LIMIT])

    def check_memory(self, run):
        failure, _ = self.check_stopped(run, "host-oom", 2)
        self.assertIn("MemoryError", failure["evidence"][0]["text"])

    # The same by the kernel, where the site's cgroups limit what a job may have: its count is the proof, whoever starts the ranks.
    def test_a_rank_that_the_kernel_kills_for_want_of_memory(self):
        machine = self.sandbox.known()["machine"]
        if machine["no_cgroups"]:
            self.skipTest(f"no limits of memory: {machine['no_cgroups']}")

        def run(kind):
            return self.begin_command(f"oom-{kind}", ["tail", "/dev/zero"], launch__kind=kind, launch__per_node=1, resources__mem="1200M")
        for kind, begun in all_at_once(run, ("ranks", "srun")).items():
            with self.subTest(kind):
                failure, text = self.check_stopped(begun.result(), "host-oom", 2)
                self.assertRegex(failure["evidence"][0]["text"], r"the kernel killed a process for want of memory \(oom_kill in .*/job_\d+/step_\d+.*\)")
                self.assertRegex(text, r"agent on n\d+")

    # The newest checkpoint is cut short: the one before it is taken.
    def start_corrupt(self, name):
        return self.make_and_submit(name, "--truncate-newest-at", "20", "--crash-attempts", "1", steps=40, recovery__in_place="off")

    def check_corrupt(self, run):
        run.wait_end()
        self.check_lineage(run)
        steps = [os.path.basename(event["resume_from"]) for event in run.events("generation_started")]
        self.assertEqual(steps[:2], ["", "step-000010"])
        self.assertTrue(any(event["step"] == 20 for event in run.events("checkpoint_refused")))

    # A node that kills ranks: at the second time it is left out, by this run and by others.
    def start_twice(self, name):
        folder = tempfile.mkdtemp(prefix="tc-root-")
        self.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        run = self.begin(name, cluster=self.profile("remembering", root=folder), root=folder, resources__nodes=2, resources__spares=1,
                         recovery__avoid_for="1h")
        run.wait_step(12)
        run.bad = run.events("generation_started")[0]["nodes"][1]
        for generation in (1, 2):
            wait_until(lambda generation=generation: self.step_of(run, generation) >= 12, RUN_LIMIT, f"steps of generation {generation}")
            kill(self.pid_of(run, generation, 2), signal.SIGKILL)
        return self.hurt_is_done(run)

    def step_of(self, run, generation):
        return max((entry["step"] for entry in run.entries() if entry["event"] == "step" and entry["generation"] == generation), default=0)

    def pid_of(self, run, generation, rank):
        return next(entry["pid"] for entry in run.entries() if (entry["generation"], entry["rank"]) == (generation, rank))

    def check_twice(self, run):
        run.wait_end()
        self.check_lineage(run)
        failures = self.failures(run)
        self.assertEqual([failure["class"] for failure in failures], ["killed", "killed"])
        self.assertEqual([failure["avoid"] for failure in failures], [[], [run.bad]])
        self.assertNotIn(run.bad, run.events("generation_started")[2]["nodes"])
        told = run.command("nodes", "--cluster", "remembering", check=0).stdout
        self.assertIn(f"{run.bad}  avoided, for ", told)
        self.assertIn(run.bad, run.command("nodes", "report", "--cluster", "remembering", check=0).stdout)
        self.assertEqual(run.command("nodes", "clear", run.bad, "--cluster", "remembering", check=0).stdout, "forgotten: 2\n")
        self.assertEqual(run.command("nodes", "--cluster", "remembering", check=0).stdout, "No node is suspected.\n")


class Told(RunCase):
    def test_the_policy_is_told_without_a_cluster(self):
        told = self.sandbox.home.run("explain", "--policy").stdout
        for name in ("host-oom", "storage-full", "nccl-timeout", "unknown"):
            self.assertRegex(told, rf"(?m)^\| `?{name}`? ")
        self.assertRegex(told, r"(?m)^\| `recovery.no_progress_max` \| \d+ \| ")

    def test_the_rules_of_a_cluster_are_its_policy_and_what_is_wrong_with_them_has_its_place(self):
        rules = f"{folder_of(self, 'tc-rules-')}/site.yaml"
        write(rules, OWN_RULES)
        cluster = self.profile("ruled", failure_rules=rules)
        told = self.sandbox.home.run("explain", "--policy", "--cluster", cluster, check=0).stdout
        self.assertIn("  flux-empty: flux where flux capacitor is empty.", told)
        run = self.make("ruled", cluster=cluster)
        run.command("check", run.file, check=0)
        write(rules, OWN_RULES.replace("class: flux", "class: fluxx"))
        said = run.command("check", run.file, check=2).stderr
        self.assertIn(f"{rules}:4:5: there is no class 'fluxx' (rule 'flux-empty'); did you mean 'flux'?", said)


if __name__ == "__main__":
    unittest.main()

"""What is mended inside the allocation: the same job goes on in the next generation, from the right step."""

import concurrent.futures
import os
import signal
import unittest

import lineage
from harness import Home, Sandbox, flavour_options, wait_until
from runs import GONE_LIMIT, RUN_LIMIT, RunCase, alive, below, command_name, kill, kill_at_once, of_node, write

STEPS = 150
LONG = 4000        # for those that are ended from outside
STALL = "5s"
NODE_TIMEOUT = 4
STANDSTILL = 10    # seconds that a restart may take on a machine that is busy with other tests
# Fails on whichever node is the first to run it.
BAD_CHECK = "if mkdir {folder}/bad 2> {folder}/mkdir.log; then echo 'the card fell off the bus'; exit 1; fi"


def all_at_once(function, values):
    """{value: the future of function(value)}, all of them done."""
    with concurrent.futures.ThreadPoolExecutor(len(values)) as threads:
        return {value: threads.submit(function, value) for value in values}


def open_text(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class InPlaceCase(RunCase):
    def begin(self, name, *options, steps=STEPS, **keys):
        """Starts it, where {folder} in texts of the experiment is the run's own folder. It does not end before hurt_is_done()."""
        run = self.make(name, "--end-after", "{folder}/hurt", *options, steps=steps, **{"recovery__in_place": "on", **keys})
        run.experiment["health"] = {key: value.replace("{folder}", run.folder)
                                    for key, value in run.experiment.get("health", {}).items()}
        run.write()
        run.submit()
        return run

    def check_lineage(self, run, steps=None):
        reached = max(entry["step"] for entry in run.entries())
        self.assertGreaterEqual(reached, steps or run.steps)
        super().check_lineage(run, reached)

    def hurt_is_done(self, run):
        write(f"{run.folder}/hurt", "")
        return run

    def check_mended(self, run, generations=2):
        """It finished inside its first job, and each generation began from the checkpoint that its head had chosen. Where
        they began."""
        run.wait_end()
        self.check_lineage(run)
        began = lineage.resumes(run.lineage)
        self.assertEqual([(attempt, generation) for attempt, generation, _ in began], [(1, i + 1) for i in range(generations)])
        told = run.events("generation_started")
        self.assertEqual([event["generation"] for event in told], list(range(1, generations + 1)))
        for (_, _, step), event in zip(began[1:], told[1:]):
            self.assertEqual(os.path.basename(event["resume_from"]), f"step-{step:06}")
        self.assertEqual({entry["job"] for entry in run.entries()}, {str(run.job())})
        self.assertIsNone(run.read("attempts/001/job.1.json"))
        self.assertIsNone(run.read("attempts/002/claim"))
        outcome = run.attempt_record(1, "outcome.json")
        self.assertEqual((outcome["kind"], outcome["generations"]), ("finished", generations))
        self.check_nothing_left(run)
        return [step for _, _, step in began]

    def ended(self, run, number=1):
        return wait_until(lambda: [event for event in run.events("generation_ended") if event["generation"] == number],
                          RUN_LIMIT, f"the end of generation {number} of {run.id}")[0]

    def alone(self, name, *options, **keys):
        return self.begin(name, *options, resources__sbatch=["--exclusive"], recovery__node_timeout=f"{NODE_TIMEOUT}s", **keys)

    def lose_node(self, run):
        """All that lives on a node that trains, but for the head's: at once. Its name, and those that trained."""
        run.wait_step(22)
        head = self.sandbox.slurm("squeue", "-h", "-j", str(run.job()), "-o", "%B").strip()
        nodes = run.events("generation_started")[0]["nodes"]
        node = next(node for node in nodes if node != head)
        ranks = [run.rank(nodes.index(node) * 2 + local) for local in range(2)]
        lost = of_node(self.sandbox, node)
        self.assertLess(set(ranks), lost)
        self.assertNotIn(run.head(), lost)
        kill_at_once([self.sandbox.pids()[node], *lost], missing_ok=True)
        wait_until(lambda: not any(alive(pid) for pid in lost), GONE_LIMIT, f"the end of {lost}")
        self.hurt_is_done(run)
        return node, nodes


class InPlace(InPlaceCase):
    """Faults that no node is lost by. All runs begin at once, and each is hurt as soon as it trains."""

    def test_a_fault_costs_a_generation_and_not_the_job(self):
        names = ("killed", "hung", "agentless", "unfit", "wrong", "asked", "ended")

        def begin_and_hurt(name):
            run = getattr(self, f"start_{name}")(f"ip-{name}")
            getattr(self, f"hurt_{name}")(run)
            return self.hurt_is_done(run)
        for name, hurt in all_at_once(begin_and_hurt, names).items():
            with self.subTest(name):
                getattr(self, f"check_{name}")(hurt.result())

    # A rank dies.
    def start_killed(self, name):
        return self.begin(name, resources__nodes=2)

    def hurt_killed(self, run):
        run.hurt_job = run.job()
        run.hurt_at = run.wait_step(22)["step"]
        kill(run.rank(3))

    def check_killed(self, run):
        begun = self.check_mended(run)
        self.assertEqual(begun[1] % 10, 0)
        self.assertGreaterEqual(begun[1], run.hurt_at // 10 * 10)
        self.assertEqual(run.job(), run.hurt_job)
        ended = self.ended(run)
        self.assertEqual((ended["kind"], ended["first"]["rank"], ended["first"]["signal"]), ("rank_failed", 3, signal.SIGKILL))
        standstill = run.events("generation_started")[1]["standstill_ms"]
        print(f"standstill of a killed rank: {standstill} ms", flush=True)
        self.assertLess(standstill, STANDSTILL * 1000)

    # A rank hangs.
    def start_hung(self, name):
        return self.begin(name, health__stall_timeout=STALL, progress__total_steps=LONG)  # not at its end, however late it is hurt

    def hurt_hung(self, run):
        run.wait_step(22)
        run.stopped = run.rank(1)
        os.kill(run.stopped, signal.SIGSTOP)

    def check_hung(self, run):
        self.check_mended(run)
        self.assertFalse(alive(run.stopped))
        self.assertEqual(self.ended(run)["kind"], "hang")
        files = [name for name in os.listdir(f"{run.dir}/attempts/001/logs/g01") if name.endswith(".evidence.txt")]
        self.assertEqual(len(files), 1)
        evidence = run.read(f"attempts/001/logs/g01/{files[0]}")
        self.assertRegex(evidence, rf"rank 1 \(pid {run.stopped}\) \S+: T ")

    # The agents and their srun die.
    def start_agentless(self, name):
        return self.begin(name, resources__nodes=2)

    def hurt_agentless(self, run):
        run.wait_step(22)
        head = run.head()
        sruns = [pid for pid in below(head) if command_name(pid) == "srun"]
        agents = [pid for pid, arguments in run.processes().items() if arguments[1:2] == ["node"]]
        self.assertTrue(sruns)
        self.assertEqual(len(agents), 2)
        run.old_ranks = [run.rank(rank) for rank in range(4)]
        kill_at_once([*sruns, *agents], missing_ok=True)  # an srun may take its second process along
        run.old_head = head

    def check_agentless(self, run):
        self.check_mended(run)
        self.assertFalse(any(alive(pid) for pid in run.old_ranks))
        self.assertGreaterEqual(len(run.events("agents_started")), 2)
        self.assertEqual(self.ended(run)["kind"], "node_lost")

    # A node is not fit.
    def start_unfit(self, name):
        return self.begin(name, steps=40, resources__spares=1, health__check=BAD_CHECK,
                          health__report_node='echo "$TRAINCTL_BAD_NODE: $TRAINCTL_EVIDENCE" >> {folder}/reported')

    def hurt_unfit(self, run):
        pass

    def check_unfit(self, run):
        self.assertEqual(self.check_mended(run, 1), [0])
        told = wait_until(lambda: os.path.exists(f"{run.folder}/reported") and open_text(f"{run.folder}/reported"), GONE_LIMIT,
                          "the report of the node")
        bad, _, evidence = told.partition(": ")
        self.assertRegex(bad, r"^n\d$")
        self.assertIn("the card fell off the bus", evidence)
        self.assertNotIn(bad, run.events("generation_started")[0]["nodes"])

    # An error that no restart mends.
    def start_wrong(self, name):
        return self.begin(name, "--crash-at", "15", "--crash-how", "traceback")

    def hurt_wrong(self, run):
        pass

    def check_wrong(self, run):
        status = run.wait_end("failed")
        self.assertEqual(lineage.resumes(run.lineage), [(1, 1, 0), (1, 2, 10)])  # the same error at the same step
        self.assertEqual([attempt["no"] for attempt in status["attempts"] if attempt["owner"]], [1])
        outcome = run.attempt_record(1, "outcome.json")
        self.assertEqual((outcome["generations"], outcome["failures"]), (2, 1))
        self.assertIn("ValueError: the data of step 15 is broken", run.text())
        self.check_nothing_left(run)

    # A save that was asked for.
    def start_asked(self, name):
        return self.begin(name, every=1000)

    def hurt_asked(self, run):
        run.wait_step(12)
        run.answer = self.sandbox.home.json("checkpoint-now", run.id)

    def check_asked(self, run):
        begun = self.check_mended(run)
        saved = [entry["step"] for entry in run.entries() if (entry["event"], entry["generation"]) == ("saved", 1)]
        self.assertEqual(begun, [0, *saved])  # one save, and nothing is trained twice
        self.assertEqual((run.answer["saved"], run.answer["step"], os.path.basename(run.answer["path"])),
                         (True, saved[0], f"step-{saved[0]:06}"))
        late = self.sandbox.home.run("checkpoint-now", run.id, check=1)
        self.assertIn("the run has ended: finished", late.stderr)
        self.assertIsNone(run.read("control/checkpoint-now"))
        self.assertEqual(run.attempt_record(1, "outcome.json")["failures"], 0)

    # The user ends it.
    def start_ended(self, name):
        return self.begin(name, steps=LONG)

    def hurt_ended(self, run):
        run.wait_step(12)
        run.wait_standby()
        self.sandbox.slurm("scancel", str(run.job()))

    def check_ended(self, run):
        run.wait_end("stopped")
        self.assertEqual({(entry["attempt"], entry["generation"]) for entry in run.entries()}, {(1, 1)})
        self.check_nothing_left(run)


class NodesLost(InPlaceCase):
    """On a sandbox of its own: its nodes die."""

    @classmethod
    def setUpClass(cls):
        home = Home()
        cls.addClassCleanup(home.remove)
        cls.sandbox = Sandbox(home, "inplace")
        cls.addClassCleanup(cls.sandbox.down, check=None)
        cls.sandbox.up("--nodes", "8", *flavour_options(), "--slurmd-timeout", "5", "--preempt-grace", "20")
        cls.own_profiles()

    def test_a_lost_node_and_preemption(self):
        begun = all_at_once(lambda case: case(), (self.spare, self.shrink, self.preempt))
        for case in (self.spare, self.shrink):
            # Slurm waits for a lost node's word on the end of its jobs.
            run = begun[case].result()[0]
            wait_until(lambda run=run: run.record("ended.json") and not run.jobs(), RUN_LIMIT, f"the end of {run.id}'s jobs")
        with self.subTest("a spare takes the lost node's place"):
            run, node, nodes = begun[self.spare].result()
            self.check_mended(run)
            self.assertEqual(self.ended(run)["kind"], "node_lost")
            after = run.events("generation_started")[1]["nodes"]
            self.assertEqual([name if name in nodes else "another" for name in after],
                             [name if name != node else "another" for name in nodes])
        with self.subTest("fewer nodes go on"):
            run, node, nodes = begun[self.shrink].result()
            self.check_mended(run)
            self.assertEqual(run.events("generation_started")[1]["nodes"], [name for name in nodes if name != node])
            self.assertEqual({entry["rank"] for entry in run.entries() if entry["generation"] == 2}, {0, 1})
        with self.subTest("a preempted job is not restarted in place: its standby goes on"):
            run = begun[self.preempt].result()
            run.wait_end()
            self.check_lineage(run)
            outcome = run.attempt_record(1, "outcome.json")
            self.assertEqual((outcome["kind"], outcome["generations"]), ("terminated", 1))
            self.assertEqual(lineage.resumes(run.lineage), [(1, 1, 0), (2, 1, outcome["checkpoint_step"])])
            self.check_nothing_left(run)

    def spare(self):
        run = self.alone("ip-spared", resources__nodes=2, resources__spares=1)
        return run, *self.lose_node(run)

    def shrink(self):
        run = self.alone("ip-shrunk", resources__nodes=2, resources__min_nodes=1)
        return run, *self.lose_node(run)

    def preempt(self):
        run = self.alone("ip-urged", resources__partition="preemptible")
        run.wait_step(12)
        run.wait_standby()
        node = self.sandbox.slurm("squeue", "-h", "-j", str(run.job()), "-o", "%B").strip()
        self.sandbox.slurm("sbatch", "-p", "urgent", "-w", node, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
        return self.hurt_is_done(run)


if __name__ == "__main__":
    unittest.main()

"""Who starts the ranks: srun with PMI, and a launcher on each node, here a script that looks like torchrun and does its work."""

import json
import os
import signal
import unittest

from harness import wait_until
from launchers import by_srun, by_torchrun
from runs import RunCase, alive, command_name, kill, parents

class Launchers(RunCase):
    def said(self, run):
        found = []
        for name in sorted(os.listdir(run.folder)):
            if name.startswith("mpi.") and name.endswith(".json"):
                with open(f"{run.folder}/{name}", encoding="utf-8") as file:
                    found.append(json.load(file))
        return found

    def test_srun_starts_the_ranks_with_pmi_and_the_agents_hold_them(self):
        run = self.make("mpi", resources__nodes=2, environment__setup="export FROM_SETUP=yes", steps=200)
        by_srun(run)
        run.submit()
        run.wait_step(25)
        victim = run.rank(3)
        self.assertIn("slurmstepd", [command_name(pid) for pid in parents(victim)])
        others = [run.rank(rank) for rank in range(3)]
        at = run.entries()[-1]["step"]
        kill(victim, signal.SIGKILL)
        wait_until(lambda: not any(alive(pid) for pid in others), 10, "the end of the other ranks")
        run.wait_end()
        self.check_lineage(run)
        (_, begun), (_, resumed) = self.resumes(run)
        self.assertEqual((begun, resumed % 10), (0, 0))
        self.assertGreaterEqual(resumed, at // 10 * 10 - 10)  # rank 0 writes, and may be a step behind
        self.assertRegex(run.read("attempts/001/logs/agent.log"), r"rank 3 ended: code 0, signal 9")
        self.assertRegex(run.read("attempts/001/logs/g01/n1.log") or run.read("attempts/001/logs/g01/n3.log"), r"\[r0\] step \d+ loss")
        said = self.said(run)
        self.assertEqual(len(said), 8)
        for one in said:
            self.assertEqual((one["PMI_RANK"], one["SLURM_PROCID"]), (one["RANK"], one["RANK"]), one)
            self.assertEqual((one["PMI_SIZE"], one["SLURM_NTASKS"], one["WORLD_SIZE"]), ("4", "4", "4"), one)
            self.assertEqual((one["SLURM_LOCALID"], one["FROM_SETUP"]), (one["LOCAL_RANK"], "yes"), one)
            self.assertIn("cmd=response_to_init", one["answer"])
            self.assertIn("rc=0", one["answer"])
        self.check_nothing_left(run)

    def test_an_srun_that_refuses_is_told_in_its_words(self):
        run = self.make("nompi", recovery__no_progress_max=1, recovery__standby="off")
        run.experiment["launch"].update(kind="srun", mpi="no_such_mpi")
        run.write()
        run.submit()
        run.wait_end("failed")
        self.assertIn("no_such_mpi", run.read("attempts/001/logs/agent.log"))

    def test_torchrun_is_told_where_it_stands_in_each_generation(self):
        run = self.make("torchrun", resources__nodes=2, steps=200)
        by_torchrun(run)
        run.submit()
        run.wait_step(25)
        at = run.entries()[-1]["step"]
        kill(run.rank(1), signal.SIGKILL)
        run.wait_end()
        self.check_lineage(run)
        (_, begun), (_, resumed) = self.resumes(run)
        self.assertEqual((begun, resumed % 10), (0, 0))
        self.assertGreaterEqual(resumed, at // 10 * 10 - 10)  # rank 0 writes, and may be a step behind
        with open(f"{run.folder}/says", encoding="utf-8") as file:
            lines = sorted(file.read().splitlines())
        self.assertEqual(len(lines), 4, lines)
        for line, (node, other) in zip(lines, ((0, 1), (1, 0), (0, 1), (1, 0))):
            self.assertRegex(line, rf"^{run.id}-\d+-\d+ {node} of 2, 2 each, [\d.]+:\d+, /.*/trainer\.py$", other)
        names = [line.split()[0] for line in lines]
        self.assertEqual((names[0], names[2]), (names[1], names[3]))
        self.assertNotEqual(names[0], names[2])
        self.check_nothing_left(run)


if __name__ == "__main__":
    unittest.main()

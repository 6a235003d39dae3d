"""Who starts the ranks: srun with PMI, and a launcher on each node, here a script that looks like torchrun and does its work."""

import json
import os
import signal
import unittest

from harness import wait_until
from runs import RunCase, alive, command_name, kill, parents, write

# What a launcher of torch does with these options, and a record of what it was told.
TORCHRUN = """#!/bin/bash
for word; do case $word in
  --nnodes=*) nodes=${word#*=} ;;
  --node_rank=*) node=${word#*=} ;;
  --nproc_per_node=*) count=${word#*=} ;;
  --rdzv_id=*) id=${word#*=} ;;
  --master_addr=*) export MASTER_ADDR=${word#*=} ;;
  --master_port=*) export MASTER_PORT=${word#*=} ;;
  --*) ;;
  *) break ;;
esac; shift; done
echo "$id $node of $nodes, $count each, $MASTER_ADDR:$MASTER_PORT, $1" >> "$TORCHRUN_SAYS"
export WORLD_SIZE=$((nodes * count)) LOCAL_WORLD_SIZE=$count
for ((local = 0; local < count; ++local)); do
  RANK=$((node * count + local)) LOCAL_RANK=$local python3 -u "$@" &
done
code=0
for ((local = 0; local < count; ++local)); do
  wait -n || { code=$?; kill $(jobs -p); break; }
done
exit $code
"""

# A rank that speaks to PMI before it trains, as an MPI library does.
MPI_RANK = """import json, os, socket, sys
fd = os.environ["PMI_FD"]
pmi = socket.socket(fileno=os.dup(int(fd)))
pmi.sendall(b"cmd=init pmi_version=2 pmi_subversion=0\\n")
answer = pmi.recv(200).decode()
said = {name: os.environ.get(name) for name in (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "PMI_RANK", "PMI_SIZE", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS", "FROM_SETUP")}
said["answer"] = answer
with open(f"{sys.argv[1]}/mpi.{os.environ['TRAINCTL_ATTEMPT']}.{os.environ['TRAINCTL_GENERATION']}.{os.environ['RANK']}.json", "w") as file:
    json.dump(said, file)
os.execv(sys.executable, [sys.executable, "-u", *sys.argv[2:]])
"""


class Launchers(RunCase):
    def launched(self, run, **launch):
        run.experiment["launch"].update(launch)
        run.write()
        run.submit()
        return run

    def by_srun(self, name, **keys):
        run = self.make(name, resources__nodes=2, environment__setup="export FROM_SETUP=yes", **keys)
        write(f"{run.folder}/rank.py", MPI_RANK)
        python, _, *rest = run.experiment["launch"]["command"]
        return self.launched(run, kind="srun", mpi="pmi2", command=[python, f"{run.folder}/rank.py", run.folder, *rest])

    def said(self, run):
        found = []
        for name in sorted(os.listdir(run.folder)):
            if name.startswith("mpi.") and name.endswith(".json"):
                with open(f"{run.folder}/{name}", encoding="utf-8") as file:
                    found.append(json.load(file))
        return found

    def test_srun_starts_the_ranks_with_pmi_and_the_agents_hold_them(self):
        run = self.by_srun("mpi", steps=60)
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
        self.launched(run, kind="srun", mpi="no_such_mpi")
        run.wait_end("failed")
        self.assertIn("no_such_mpi", run.read("attempts/001/logs/agent.log"))

    def test_torchrun_is_told_where_it_stands_in_each_generation(self):
        run = self.make("torchrun", resources__nodes=2, steps=60)
        write(f"{run.folder}/torchrun", TORCHRUN, 0o755)
        run.experiment["environment"] = {"setup": f"export PATH={run.folder}:$PATH TORCHRUN_SAYS={run.folder}/says"}
        command = run.experiment["launch"]["command"]
        self.launched(run, kind="node", preset="torchrun", command=["python3", *command[1:]])
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

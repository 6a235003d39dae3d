"""Other ways to start the ranks than the agent itself: srun with PMI, and a launcher on each node, here a script that looks like
torchrun and does its work. They are put under a run that was made and not submitted."""

from runs import write

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


def by_srun(run):
    write(f"{run.folder}/rank.py", MPI_RANK)
    python, _, *rest = run.experiment["launch"]["command"]
    run.experiment["launch"].update(kind="srun", mpi="pmi2", command=[python, f"{run.folder}/rank.py", run.folder, *rest])
    run.write()


def by_torchrun(run):
    write(f"{run.folder}/torchrun", TORCHRUN, 0o755)
    run.experiment.setdefault("environment", {})["setup"] = f"export PATH={run.folder}:$PATH TORCHRUN_SAYS={run.folder}/says"
    command = run.experiment["launch"]["command"]
    run.experiment["launch"].update(kind="node", preset="torchrun", command=["python3", *command[1:]])
    run.write()

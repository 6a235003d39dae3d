"""A training that is told a folder: the tracker in it names what trainctl chose, whatever a killed generation had left there."""

import json
import unittest

from runs import PYTHON, RunCase, write

# Saves as DeepSpeed does. Its first generation leaves a broken save that `latest` names already.
SAVER = """import json, os, pickle, sys, zipfile
folder, told, *options = sys.argv[1:]
generation = os.environ["TRAINCTL_GENERATION"]

def latest():
    try:
        return open(folder + "/latest").read()
    except FileNotFoundError:
        return None

def save(step, whole):
    os.makedirs(f"{folder}/global_step{step}", exist_ok=True)
    file = f"{folder}/global_step{step}/mp_rank_00_model_states.pt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"dp_world_size": 1, "mp_world_size": 1, "optimizer": {}}, protocol=2))
        archive.writestr("archive/version", "3")
    if not whole:
        os.truncate(file, 100)
    with open(folder + "/latest", "w") as tracker:
        tracker.write(f"global_step{step}")

with open(told, "a") as out:
    print(json.dumps([generation, latest(), os.environ.get("TRAINCTL_RESUME_STEP"), options]), file=out)
if generation == "1":
    save(10, True)
    save(20, False)
    print("step 20 loss 1.0 rate 1.0", flush=True)
    sys.exit(7)
print("step 40 loss 1.0 rate 1.0", flush=True)
"""


class Trackers(RunCase):
    def test_latest_names_what_the_next_generation_goes_on_from(self):
        run = self.make("tracked", recovery__in_place="on", launch__per_node=1)
        write(f"{run.folder}/saver.py", SAVER)
        run.experiment["launch"]["command"] = [PYTHON, "-u", f"{run.folder}/saver.py", "{checkpoint_dir}", f"{run.folder}/told"]
        run.experiment["checkpoint"] = {"format": "deepspeed", "resume_args": ["--tag", "{checkpoint_name}", "--step", "{checkpoint_step}"]}
        run.write()
        run.submit()
        run.wait_end()
        with open(f"{run.folder}/told", encoding="utf-8") as file:
            told = [json.loads(line) for line in file]
        self.assertEqual(told, [["1", None, None, []],
                                ["2", "global_step10", "10", ["--tag", "global_step10", "--step", "10"]]])
        aimed = run.events("tracker_aimed")
        self.assertEqual([(event["before"], event["now"]) for event in aimed], [("global_step20", "global_step10")])
        listed = json.loads(run.command("checkpoints", run.id, "--json", check=0).stdout)
        self.assertEqual([(one["step"], one["complete"]) for one in listed["checkpoints"]], [(20, False), (10, True)])
        self.check_nothing_left(run)


if __name__ == "__main__":
    unittest.main()

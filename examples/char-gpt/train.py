#!/usr/bin/python3
"""Trains a small character-level GPT with data parallelism on the CPU, and survives being interrupted.

Plain PyTorch: DistributedDataParallel over gloo, with RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT
from whatever starts the processes. Nothing here knows of trainctl but the default of --checkpoint-dir.

Exit codes: 0 all steps done; 75 saved on SIGUSR1 and ended before that; 2 bad usage; anything else is a crash.
"""
import argparse
import hashlib
import json
import os
import signal
import sys
import time

save_requested = False


def request_save(_signal, _frame):
    global save_requested
    save_requested = True


# Before the slow imports: a signal during them must not end the process.
signal.signal(signal.SIGUSR1, request_save)

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from torch import nn  # noqa: E402

import checkpoints  # noqa: E402
from model import CharGpt  # noqa: E402

EXIT_SAVED = 75  # EX_TEMPFAIL of sysexits.h: not an error, but not finished either
TEXT_FOLDER = "/usr/share/common-licenses"
FALLBACK_TEXT = "This folder has no licences to learn from, so here is one sentence, many times over.\n" * 400


def load_text():
    """The licences that every Debian has, in the order of their names; links and broken files left out."""
    parts = []
    for name in sorted(os.listdir(TEXT_FOLDER)) if os.path.isdir(TEXT_FOLDER) else []:
        path = os.path.join(TEXT_FOLDER, name)
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                parts.append(file.read())
    if not parts:
        print(f"no texts in {TEXT_FOLDER}: learning one sentence instead", file=sys.stderr)
    return "".join(parts) or FALLBACK_TEXT


def sample_offset(seed, index, limit):
    """Where sample number `index` of the whole training starts: the same for any number of ranks."""
    digest = hashlib.sha256(f"{seed}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "little") % limit


class Data:
    def __init__(self, options):
        text = load_text()
        self.alphabet = sorted(set(text))
        code = {letter: i for i, letter in enumerate(self.alphabet)}
        self.codes = torch.tensor([code[letter] for letter in text])
        self.seed, self.batch, self.context = options.seed, options.batch, options.context

    def offsets(self, step):
        first = (step - 1) * self.batch
        return [sample_offset(self.seed, first + k, len(self.codes) - self.context - 1) for k in range(self.batch)]

    def samples(self, offsets):
        rows = torch.stack([self.codes[at:at + self.context + 1] for at in offsets])
        return rows[:, :-1], rows[:, 1:]


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="train up to this step (default %(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="samples a step, over all ranks (default %(default)s)")
    parser.add_argument("--context", type=int, default=32, help="characters a sample (default %(default)s)")
    parser.add_argument("--width", type=int, default=48, help="of the model (default %(default)s)")
    parser.add_argument("--layers", type=int, default=2, help="of the model (default %(default)s)")
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint-dir", default=os.environ.get("TRAINCTL_CHECKPOINT_DIR", "checkpoints"))
    parser.add_argument("--checkpoint-every", type=int, default=50, help="steps; 0: only at the end (default %(default)s)")
    parser.add_argument("--resume", metavar="PATH", help="a checkpoint to go on from")
    parser.add_argument("--print-every", type=int, default=10, help="steps; the loss is their mean (default %(default)s)")
    parser.add_argument("--lineage", metavar="FILE", help="rank 0 adds a line of JSON here for each step")
    parser.add_argument("--step-time-min", type=float, default=0, help="seconds; slows a demonstration down")
    return parser.parse_args()


def learning_rate(options, step):
    """Warms up over 20 steps, then falls slowly; a function of the step alone, so nothing of it needs saving."""
    return options.rate * min(1.0, step / 20) * (1 + step / 500) ** -0.5


class Training:
    def __init__(self, options):
        self.options = options
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.data = Data(options)
        torch.manual_seed(options.seed)
        self.model = CharGpt(len(self.data.alphabet), options.context, options.width, options.layers)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=options.rate)
        self.step = 0
        self.digest = ""  # of all samples so far: two trainings with the same digest saw the same data
        if options.resume:
            self.load(options.resume)
        self.parallel = nn.parallel.DistributedDataParallel(self.model)
        self.settle_buckets()

    def settle_buckets(self):
        """One backward pass that does not count. DDP lays its buckets out anew after the first, and with the layout
        changes the order in which ranks' gradients are added: a resumed training would differ in the last bits."""
        inputs, _ = self.data.samples(self.data.offsets(1)[self.rank::self.world])
        self.parallel(inputs).sum().backward()
        self.optimizer.zero_grad()

    def shape(self):
        keys = ("batch", "context", "width", "layers", "seed")
        return {key: getattr(self.options, key) for key in keys} | {"alphabet": "".join(self.data.alphabet)}

    def load(self, path):
        state = torch.load(os.path.join(path, "state.pt"), map_location="cpu")
        if state["shape"] != self.shape():
            sys.exit(f"{path} is of another training: {state['shape']}, not {self.shape()}")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        self.step, self.digest = state["step"], state["sampler"]["digest"]

    def save(self):
        if self.rank == 0:
            state = {"shape": self.shape(), "step": self.step, "model": self.model.state_dict(),
                     "optimizer": self.optimizer.state_dict(), "rng": torch.get_rng_state(),
                     "sampler": {"next_sample": self.step * self.options.batch, "digest": self.digest}}
            path = checkpoints.save(self.options.checkpoint_dir, self.step,
                                    {"state.pt": lambda file: torch.save(state, file)})
            print(f"saved {path}", flush=True)
        dist.barrier()  # nobody ends, or trains on, before it is on disk

    def train_step(self):
        """One step; returns the loss over the whole batch and whether any rank was asked to save."""
        self.step += 1
        offsets = self.data.offsets(self.step)
        self.digest = hashlib.sha256(f"{self.digest}/{self.step}/{offsets}".encode()).hexdigest()
        inputs, targets = self.data.samples(offsets[self.rank::self.world])
        logits = self.parallel(inputs)
        total = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
        # DDP averages over ranks; this makes it the mean over the batch, also where ranks' shares differ.
        loss = total / (self.options.batch * self.options.context)
        self.optimizer.zero_grad()
        (loss * self.world).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.options, self.step)
        self.optimizer.step()
        # All ranks must stop at the same step, whichever of them got the signal: they agree in each.
        shared = torch.tensor([loss.item(), float(save_requested)], dtype=torch.float64)
        dist.all_reduce(shared)
        return shared[0].item(), shared[1].item() > 0

    def note_lineage(self, loss):
        if self.rank != 0 or not self.options.lineage:
            return
        environment = os.environ
        line = {"event": "step", "attempt": int(environment.get("TRAINCTL_ATTEMPT", "1")),
                "generation": int(environment.get("TRAINCTL_GENERATION", "1")),
                "job": environment.get("TRAINCTL_JOB_ID", ""), "rank": 0, "pid": os.getpid(), "time": time.time(),
                "step": self.step, "digest": self.digest, "loss": loss}
        with open(self.options.lineage, "ab", buffering=0) as file:
            file.write((json.dumps(line) + "\n").encode())

    def run(self):
        options = self.options
        if self.rank == 0:
            checkpoints.remove_leftovers(options.checkpoint_dir)
            weights = sum(p.numel() for p in self.model.parameters())
            print(f"{weights} weights, {len(self.data.codes)} characters, {self.world} ranks, "
                  f"from step {self.step} to {options.steps}", flush=True)
        last_print, last_step, losses = time.monotonic(), self.step, []
        while self.step < options.steps:
            started = time.monotonic()
            loss, stop = self.train_step()
            self.note_lineage(loss)
            losses.append(loss)
            if self.rank == 0 and (self.step % options.print_every == 0 or stop):
                now = time.monotonic()
                rate = (self.step - last_step) / (now - last_print)
                print(f"step {self.step} loss {sum(losses) / len(losses):.4f} rate {rate:.1f} steps/s", flush=True)
                last_print, last_step, losses = now, self.step, []
            done = self.step == options.steps
            if stop or done or (options.checkpoint_every and self.step % options.checkpoint_every == 0):
                self.save()
            if stop and not done:
                return EXIT_SAVED
            time.sleep(max(0.0, started + options.step_time_min - time.monotonic()))
        return 0


def main():
    options = parse_options()
    torch.set_num_threads(1)  # the ranks share the node's cores already
    os.environ.setdefault("RANK", "0")
    os.environ.setdefault("WORLD_SIZE", "1")
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29500")
    if os.environ["MASTER_ADDR"].startswith("127."):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # else gloo looks up this host's own name
    dist.init_process_group("gloo")
    if dist.get_world_size() > options.batch:
        sys.exit(f"--batch {options.batch} is too small for {dist.get_world_size()} ranks")
    code = Training(options).run()
    dist.destroy_process_group()
    return code


if __name__ == "__main__":
    sys.exit(main())

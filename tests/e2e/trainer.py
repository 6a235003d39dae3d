#!/usr/bin/env python3
"""A training without a model, for tests of what goes wrong: fast, standard library only, and it can misbehave.

Its state is a chain of digests, digest(n) = sha256(digest(n-1), step n, seed), so that a step trained from a wrong
checkpoint can't hide. The ranks meet at rank 0 over TCP in every step; where one is gone the others stall, as in a
collective. Every step of every rank is a line in --lineage, which lineage.py checks.

Exit codes: 0 all steps done; 75 saved on SIGUSR1 and ended before that; what it was told to crash with.
"""
import argparse
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

from lineage import next_digest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples/char-gpt"))
import checkpoints  # noqa: E402

EXIT_SAVED = 75
EXIT_DO_NOT_RESTART = 93
CONNECT_SECONDS = 30
WORKING_BYTES = 64 << 20  # that each step asks for and never touches: a limit of memory is met there
STALL_SECONDS = 600  # then it ends by itself, so that a broken test leaves nothing for ever

save_requested = False


def request_save(_signal, _frame):
    global save_requested
    save_requested = True


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--step-time", type=float, default=0.02, metavar="SECONDS")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--checkpoint-dir", default=os.environ.get("TRAINCTL_CHECKPOINT_DIR", "checkpoints"))
    parser.add_argument("--checkpoint-every", type=int, default=10, metavar="STEPS")
    parser.add_argument("--resume", metavar="PATH")
    parser.add_argument("--lineage", metavar="FILE")
    parser.add_argument("--payload", type=int, default=1000, metavar="BYTES", help="size of a checkpoint's second file")
    parser.add_argument("--end-after", metavar="FILE",
                        help="goes on after --steps until it is there: a test is not late on a slow machine")
    bad = parser.add_argument_group("misbehaviour")
    bad.add_argument("--crash-at", type=int, metavar="STEP")
    bad.add_argument("--crash-rank", type=int, default=-1, metavar="R", help="-1: the last")
    bad.add_argument("--crash-how", default="code:1", metavar="code:N|signal:NAME|traceback|hang")
    bad.add_argument("--crash-attempts", type=int, default=0, metavar="N",
                     help="crash, exit 93 and truncate in the first N attempts only; 0: in all")
    bad.add_argument("--exit93-at", type=int, metavar="STEP")
    bad.add_argument("--truncate-newest-at", type=int, metavar="STEP",
                     help="rank 0 saves there, cuts the file in half and dies of SIGKILL")
    bad.add_argument("--ignore-term", action="store_true")
    bad.add_argument("--spawn-grandchild", metavar="FOLDER", help="each rank: a setsid'd one and a daemon; pid files here")
    bad.add_argument("--slow-save", type=float, default=0, metavar="SECONDS")
    bad.add_argument("--dump-env", metavar="PREFIX", help="to PREFIX.<attempt>.<rank>.json")
    return parser.parse_args()


class Stalled(Exception):
    """Another rank is gone."""


class Meeting:
    """All ranks in step: each tells rank 0 its digest and whether it was asked to save; rank 0 answers for all."""

    def __init__(self, rank, world, address, port):
        self.rank, self.peers = rank, []
        if rank == 0:
            listener = socket.create_server((address, port), backlog=world)
            listener.settimeout(CONNECT_SECONDS)
            for _ in range(world - 1):
                self.peers.append(listener.accept()[0].makefile("rw"))
            listener.close()
        else:
            self.peers.append(self._connect(address, port).makefile("rw"))

    @staticmethod
    def _connect(address, port):
        end = time.monotonic() + CONNECT_SECONDS
        while True:
            try:
                connection = socket.create_connection((address, port), timeout=CONNECT_SECONDS)
                connection.settimeout(None)
                return connection
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)

    @staticmethod
    def _receive(peer):
        try:
            line = peer.readline()
        except OSError:
            line = ""
        if not line.endswith("\n"):
            raise Stalled
        return json.loads(line)

    @staticmethod
    def _send(peer, message):
        try:
            peer.write(json.dumps(message) + "\n")
            peer.flush()
        except OSError:
            raise Stalled from None

    def agree(self, step, digest, wishes):
        """Of each wish whether any rank has it; the last one is rank 0's to decide. Ranks of different steps or digests are an error."""
        if self.rank != 0:
            self._send(self.peers[0], [step, digest, wishes])
            return self._receive(self.peers[0])
        for peer in self.peers:
            other_step, other_digest, other_wishes = self._receive(peer)
            if (other_step, other_digest) != (step, digest):
                raise RuntimeError(f"a rank is at step {other_step} with {other_digest}, not at {step} with {digest}")
            wishes = [wishes[0] or other_wishes[0], wishes[1]]
        for peer in self.peers:
            self._send(peer, wishes)
        return wishes


class Trainer:
    def __init__(self, options):
        self.options = options
        self.rank, self.world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.attempt = int(os.environ.get("TRAINCTL_ATTEMPT", "1"))
        self.step, self.digest = 0, ""
        if options.resume:
            with open(os.path.join(options.resume, "state.json"), encoding="utf-8") as file:
                state = json.load(file)
            self.step, self.digest = state["step"], state["digest"]
        self.misbehaves = options.crash_attempts == 0 or self.attempt <= options.crash_attempts

    def note(self, event):
        if not self.options.lineage:
            return
        line = {"event": event, "attempt": self.attempt, "generation": int(os.environ.get("TRAINCTL_GENERATION", "1")),
                "job": os.environ.get("TRAINCTL_JOB_ID", os.environ.get("SLURM_JOB_ID", "")), "rank": self.rank,
                "pid": os.getpid(), "time": time.time(), "step": self.step, "digest": self.digest}
        with open(self.options.lineage, "ab", buffering=0) as file:
            file.write((json.dumps(line) + "\n").encode())

    def is_crash_rank(self):
        return self.rank == (self.options.crash_rank if self.options.crash_rank >= 0 else self.world - 1)

    def misbehave(self):
        """What was asked for at this step, before it counts."""
        if not self.misbehaves or not self.is_crash_rank():
            return
        if self.step == self.options.exit93_at:
            print("this can't get better: do not restart", file=sys.stderr, flush=True)
            os._exit(EXIT_DO_NOT_RESTART)
        if self.step != self.options.crash_at:
            return
        how, _, detail = self.options.crash_how.partition(":")
        if how == "traceback":
            raise ValueError(f"the data of step {self.step} is broken")
        if how == "hang":
            stall()
        if how == "signal":
            signal.signal(getattr(signal, "SIG" + detail), signal.SIG_DFL) if detail != "KILL" else None
            os.kill(os.getpid(), getattr(signal, "SIG" + detail))
            stall()
        os._exit(int(detail or "1"))

    def save(self):
        if self.rank != 0:
            return
        state = json.dumps({"step": self.step, "digest": self.digest}).encode()
        weights = (hashlib.sha256(state).digest() * (self.options.payload // 32 + 1))[:self.options.payload]

        def write_weights(file):
            file.write(weights[:len(weights) // 2])
            time.sleep(self.options.slow_save)
            file.write(weights[len(weights) // 2:])

        path = checkpoints.save(self.options.checkpoint_dir, self.step,
                                {"state.json": lambda file: file.write(state), "weights.bin": write_weights})
        print(f"saved {path}", flush=True)
        self.note("saved")
        if self.misbehaves and self.step == self.options.truncate_newest_at:
            os.truncate(os.path.join(path, "weights.bin"), self.options.payload // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def may_end(self):
        return self.step >= self.options.steps and (not self.options.end_after or os.path.exists(self.options.end_after))

    def run(self):
        options = self.options
        self.note("start")
        meeting = Meeting(self.rank, self.world, os.environ.get("MASTER_ADDR", "127.0.0.1"),
                          int(os.environ.get("MASTER_PORT", "29500")))
        done = self.step >= options.steps
        while not done:
            self.step += 1
            self.digest = next_digest(self.digest, self.step, options.seed)
            time.sleep(options.step_time)
            bytes(WORKING_BYTES)
            self.misbehave()
            stop, done = meeting.agree(self.step, self.digest, [save_requested, self.may_end()])
            self.note("step")
            if self.rank == 0:
                rate = 1 / max(options.step_time, 1e-3)
                print(f"step {self.step} loss {4 / self.step ** 0.5:.4f} rate {rate:.1f} steps/s", flush=True)
            if stop or done or self.step % options.checkpoint_every == 0 or self.step == options.truncate_newest_at:
                self.save()
                meeting.agree(self.step, "saved", [False, False])
            if stop and not done:
                self.note("end")
                return EXIT_SAVED
        self.note("end")
        return 0


def stall():
    """Hangs as a collective does whose other side is gone."""
    end = time.monotonic() + STALL_SECONDS
    while time.monotonic() < end:
        time.sleep(1)
    os._exit(1)


def spawn_grandchildren(folder, name):
    """One in a session of its own, and one that forked twice: what is easily forgotten when ranks are killed."""
    os.makedirs(folder, exist_ok=True)
    sleeper = subprocess.Popen(["sleep", "300"], start_new_session=True)
    with open(os.path.join(folder, f"sleeper.{name}.pid"), "w", encoding="utf-8") as file:
        file.write(f"{sleeper.pid}\n")
    if os.fork() != 0:
        return
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    with open(os.path.join(folder, f"daemon.{name}.pid"), "w", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(300)
    os._exit(0)


def main():
    signal.signal(signal.SIGUSR1, request_save)
    options = parse_options()
    if options.ignore_term:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    trainer = Trainer(options)
    if options.dump_env:
        with open(f"{options.dump_env}.{trainer.attempt}.{trainer.rank}.json", "w", encoding="utf-8") as file:
            json.dump(dict(os.environ), file, indent=1, sort_keys=True)
    if options.spawn_grandchild:
        spawn_grandchildren(options.spawn_grandchild, f"{trainer.attempt}.{trainer.rank}")
    try:
        return trainer.run()
    except Stalled:
        print(f"rank {trainer.rank} waits for a rank that is gone", file=sys.stderr, flush=True)
        stall()


if __name__ == "__main__":
    sys.exit(main())

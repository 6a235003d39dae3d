"""What the benchmarks share: the programs, a sandbox in a home of its own, and the table of figures.

TRAINCTL names the trainctl to measure; without it, the release build of this checkout.
"""
import contextlib
import os
import platform
import shlex
import statistics
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
os.environ.setdefault("TRAINCTL", os.path.join(ROOT, "build/release/trainctl"))
sys.path.insert(0, os.path.join(ROOT, "tests/e2e"))

from harness import TRAINCTL, Home, Sandbox, wait_until  # noqa: E402

__all__ = ["ROOT", "TRAINCTL", "Home", "Sandbox", "Table", "sandbox", "wait_until"]


@contextlib.contextmanager
def sandbox(*options, name="bench"):
    home = Home()
    box = Sandbox(home, name)
    try:
        box.up(*options)
        yield box
    finally:
        box.down()
        home.remove()


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return f"{os.cpu_count()} CPUs ({names[0] if names else platform.machine()}), Linux {platform.release()}"


class Table:
    """Figures of ours beside a peer's; the ratio is of the medians."""

    def __init__(self, unit):
        self.unit, self.load = unit, [os.getloadavg()[0]]
        self.rows = [("name", "ours: median", "max", "n", "peer: median", "max", "n", "ratio")]

    def add(self, name, ours, peer=()):
        row = [name, *self._figures(ours), *self._figures(peer)]
        row.append(f"{statistics.median(ours) / statistics.median(peer):.3g}" if peer else "-")
        self.rows.append(tuple(row))

    def _figures(self, values):
        if not values:
            return "-", "-", "0"
        return f"{statistics.median(values):.4g} {self.unit}", f"{max(values):.4g} {self.unit}", str(len(values))

    def print(self):
        self.load.append(os.getloadavg()[0])
        widths = [max(len(row[i]) for row in self.rows) for i in range(len(self.rows[0]))]
        print(f"$ {shlex.join(['python3', os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]])}")
        print(f"  {machine()}; load {' and '.join(f'{value:.1f}' for value in self.load)} before and after")
        for row in self.rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())

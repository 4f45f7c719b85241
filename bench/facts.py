"""What machine and programs this is, and how much processor time others have used.

In charge of: facts for the page, and reading /proc.
Does not know: scenarios.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

__all__ = ["Cpu", "cpu_s", "facts", "memory_kb", "postgres_cpu_s"]

_TICKS = os.sysconf("SC_CLK_TCK")


def facts(postgres_version: str) -> dict[str, str]:
    """What a reader needs to compare with his own machine."""
    flags = sysconfig.get_config_var("CONFIG_ARGS") or ""
    build = "yes" if "--enable-optimizations" in flags else "not said"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": f"{os.cpu_count()} cores, {_processor()}",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "PostgreSQL": postgres_version,
        "Python": f"{platform.python_version()}, {_base()}, --enable-optimizations: {build}",
        "libraries": ", ".join(f"{n} {version(n)}" for n in ("uvicorn", "uvloop", "psycopg")),
        "commit": _commit(),
        "day": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "load before": " ".join(f"{one:.1f}" for one in os.getloadavg()),
    }


def _base() -> str:
    """Whose interpreter it is: the system's own is often built better."""
    return "the system's own" if sys.base_prefix == "/usr" else "built beside the system's own"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    """The commit, and whether what is measured or measures differs from it."""
    commit = _git("rev-parse", "--short", "HEAD").stdout.strip()
    changed = _git("status", "--porcelain", "--", "src", "bench", ":!bench/results").stdout
    return (f"{commit} with changes" if changed else commit) or "unknown"


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)


def cpu_s(pid: int) -> float:
    """Processor seconds of a process and of those of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def children_of(parent: int) -> list[int]:
    """The processes that `parent` has started and that live."""
    found: list[int] = []
    for task in Path(f"/proc/{parent}/task").iterdir():
        found += map(int, (task / "children").read_text("utf-8").split())
    return found


def postgres_cpu_s(postmaster: int) -> float:
    """Processor seconds of a PostgreSQL with all its backends, also those that are gone."""
    total = cpu_s(postmaster)
    for child in children_of(postmaster):
        try:
            total += cpu_s(child)
        except OSError:  # ended meanwhile: the postmaster has its time
            continue
    return total


def memory_kb(pid: int) -> int:
    """Memory of a process that is its own."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def machine_busy_s() -> float:
    """Processor seconds that anybody has used since the machine started."""
    fields = Path("/proc/stat").read_text("utf-8").split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _wait, irq, softirq = map(int, fields[:7])
    return (user + nice + system + irq + softirq) / _TICKS


class Cpu:
    """Processor time of server and database between two moments, and of everybody else."""

    def __init__(self, servers: Iterable[int], postmaster: int) -> None:
        self._servers, self._postmaster = list(servers), postmaster
        self._before = self._read()

    def _read(self) -> tuple[float, float, float]:
        servers = sum(map(cpu_s, self._servers))
        return servers, postgres_cpu_s(self._postmaster), machine_busy_s()

    def so_far(self) -> dict[str, float]:
        """Seconds since this was made."""
        server, database, machine = (b - a for a, b in zip(self._before, self._read(), strict=True))
        return {"server": server, "database": database, "machine": machine}

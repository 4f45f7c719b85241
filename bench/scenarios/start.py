"""From `bookconnect-dm serve` to ready."""

from __future__ import annotations

import subprocess
import sys
import time

from bench.figures import Figure, Report
from bench.harness import Bench

ORDER = 80


def play(bench: Bench) -> Report:
    """Beside it, an interpreter that imports nothing."""
    store = bench.store()
    took, bare = [], []
    for _ in range(max(5, bench.size.pairs)):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        bare.append(time.perf_counter() - began)
        process, server = bench.start_server(store.database)
        process.terminate()
        process.wait(20)
        took.append(server.start_s)
    return Report(
        scenario="start",
        title="Cold start",
        how="From starting the process until `/readyz` answers 200: schema checked, live delivery"
        " flowing.",
        figures=[Figure(what="serve to ready", unit="s", values=took, target=1.0,
                        baseline_is="an interpreter that imports nothing", baseline=bare)],
    )  # fmt: skip

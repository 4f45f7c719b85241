"""`make bench`: every scenario, then the page.

python -m bench [--full] [--only NAME ...] [--seconds S] [--pairs N] [--no-page]
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import time
from pathlib import Path
from types import ModuleType

import psycopg

from bench import page, scenarios
from bench.facts import facts
from bench.figures import Report
from bench.harness import FOLDER, Bench, Size

EVERYDAY = Size(name="everyday", store_share=0.1, seconds=10, pairs=3)
FULL = Size(name="full", store_share=1.0, seconds=20, pairs=3)
RESULTS = Path(__file__).parent / "results"
"""The figures of the page, kept with the code: one scenario can be measured anew."""


def all_scenarios() -> dict[str, ModuleType]:
    """By name, in their order."""
    found = [
        importlib.import_module(f"bench.scenarios.{one.name}")
        for one in pkgutil.iter_modules(scenarios.__path__)
    ]
    found.sort(key=lambda one: one.ORDER)
    return {one.__name__.rpartition(".")[2]: one for one in found}


def main() -> None:
    known = all_scenarios()
    parser = argparse.ArgumentParser(prog="python -m bench", description="The benchmarks.")
    parser.add_argument("--full", action="store_true", help="the mission's whole year, and all")
    parser.add_argument("--only", nargs="+", choices=list(known), help="these scenarios")
    parser.add_argument("--seconds", type=float, help="length of a window")
    parser.add_argument("--pairs", type=int, help="repetitions")
    parser.add_argument("--share", type=float, help="of the mission's year")
    parser.add_argument("--no-page", action="store_true", help="do not write docs/benchmarks.md")
    arguments = parser.parse_args()
    usual = FULL if arguments.full else EVERYDAY
    size = Size(
        name=f"share-{arguments.share * 1000:.0f}" if arguments.share else usual.name,
        store_share=arguments.share or usual.store_share,
        seconds=arguments.seconds or usual.seconds,
        pairs=arguments.pairs or usual.pairs,
    )
    chosen = arguments.only or [
        name
        for name, one in known.items()
        if arguments.full or not getattr(one, "FULL_ONLY", False)
    ]
    results = (RESULTS if size.name in page.RUNS else FOLDER) / f"{size.name}.json"
    results.parent.mkdir(exist_ok=True)
    known_results = _read(results)
    with Bench(size) as bench:
        with psycopg.connect(bench.postgres.admin_url) as db:
            version = str(db.info.parameter_status("server_version"))
        machine = facts(version)
        failed = []
        for name in chosen:
            try:
                report = _play(known[name], bench, name)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the others go on
                print(f"{name} failed: {type(error).__name__}: {error}", flush=True)
                failed.append(name)
                continue
            known_results["reports"][name] = report.as_json()
            known_results["facts"][name] = machine
            results.write_text(json.dumps(known_results, indent=1) + "\n", "utf-8")
    if not arguments.no_page:
        for path in page.write(RESULTS, Path("docs"), order=list(known)):
            print(path)
    if failed:
        sys.exit(f"Not measured: {', '.join(failed)}.")


def _play(module: ModuleType, bench: Bench, name: str) -> Report:
    print(f"{name} ...", file=sys.stderr, flush=True)
    began = time.monotonic()
    report: Report = module.play(bench)
    report.took_s = time.monotonic() - began
    for line in page.as_text(report):
        print(line, flush=True)
    return report


def _read(path: Path) -> dict[str, dict[str, object]]:
    if path.exists():
        found: dict[str, dict[str, object]] = json.loads(path.read_text("utf-8"))
        return found
    return {"reports": {}, "facts": {}}


if __name__ == "__main__":
    main()

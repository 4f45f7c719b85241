"""What was measured, as lines on a terminal and as docs/benchmarks.md.

In charge of: words and tables.
Knows about: the results of the last runs, everyday and full.
Does not know: how anything was measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import charts
from bench.charts import brief
from bench.figures import Chart, Figure, Report, Series
from bench.stats import median, spread

__all__ = ["RUNS", "as_text", "write"]

RUNS = {
    "full": "make bench FULL=1",
    "everyday": "make bench",
    "share-300": "python -m bench --share 0.3",
}
GROWTH = ("everyday", "share-300", "full")
"""By the size of the store: a tenth, three tenths, the whole year."""

GROWTH_SAYS = """\
Each column is a run of its own, at another time: what the machine's own day adds is in these
figures too. The target (1.3 from a tenth to the whole) is held against both stores in turns within
one run: *A whole store beside a tenth of it*, below."""

COST = (", p95", "a message, 500 members")
"""How the names of those figures end that the chart of growth shows."""

HEAD = """\
# Benchmarks

Measured by `make bench` (a tenth of the mission's store, short windows) and `make bench FULL=1`
(the mission's whole year of 9.1 million messages, longer). They write this page from the figures
that they put into `bench/results`. `python -m bench --only NAME` measures one scenario anew, and
`python -m bench --help` tells the rest; below, each scenario names its commit and its day.

The load runs beside the server on the same machine, in a process of its own: all figures are lower
bounds. PostgreSQL writes every commit to disk (fsync). Each figure is the median of several
repetitions, with the least and the greatest behind it. A baseline is measured in the same
repetition: where others use the machine, a ratio still tells something, and milliseconds do not.
The comparison for sends is pgbench with single-row inserts into the mission's own table, with its
keys and indexes, but without security, order, retention or delivery. Where a target is missed,
[what a message costs](decisions/0015-what-a-message-costs.md) has the profile and what was tried.
"""


@dataclass(frozen=True, slots=True)
class Run:
    """The last results of one kind of run."""

    name: str
    reports: dict[str, Report]
    facts: dict[str, dict[str, str]]


def as_text(report: Report) -> Iterator[str]:
    """Lines for a terminal."""
    yield f"{report.title} ({report.size or 'no store'}; {report.took_s:.0f} s)"
    for one in report.figures:
        mark = {None: "     ", True: "met  ", False: "SHORT"}[one.is_met]
        yield f"  {mark} {one.what}: {_measured(one)}{_beside(one)}{_target(one, ' target ')}"
        if one.note:
            yield f"          {one.note}"
    for note in report.notes:
        yield f"  {note}"


def write(results: Path, docs: Path, *, order: list[str]) -> list[Path]:
    """The page and its pictures; which files were written."""
    runs = [run for name in RUNS if (run := _read(results / f"{name}.json", name))]
    written = []
    pictures = docs / "images"
    lines = [HEAD]
    for run in runs:
        lines += _run_head(run)
        lines += _targets(run, order)
    if not runs:
        lines += ["Nothing was measured yet.", ""]
    else:
        lines += _mission(runs)
        told, drawn = _growth({run.name: run for run in runs}, pictures)
        lines += told
        written += drawn
        lines += ["## Each scenario", ""]
        for name in order:
            for run in runs:
                if name in run.reports:
                    lines += _scenario(run, run.reports[name], run.facts[name])
                    written += _draw(run, run.reports[name], pictures)
    path = docs / "benchmarks.md"
    path.write_text("\n".join(lines).rstrip() + "\n", "utf-8")
    return [path, *written]


def _read(path: Path, name: str) -> Run | None:
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    reports = {key: Report.from_json(one) for key, one in found["reports"].items()}
    return Run(name, reports, found["facts"])


def _run_head(run: Run) -> list[str]:
    machine = max(run.facts.values(), key=lambda one: one["day"])
    shown = {k: v for k, v in machine.items() if k not in ("load before", "commit", "day")}
    loads = [float(one["load before"].split()[0]) for one in run.facts.values()]
    return [
        f"## `{RUNS[run.name]}`",
        "",
        "; ".join(f"{name}: {value}" for name, value in shown.items())
        + f". Load of the machine before the scenarios began: up to {max(loads):.1f}.",
        "",
    ]


def _targets(run: Run, order: list[str]) -> list[str]:
    lines = ["| what | target | measured | baseline in the same run | |", "|---|---|---|---|---|"]
    for name in order:
        for one in run.reports[name].figures if name in run.reports else ():
            if one.target is not None:
                verdict = "met" if one.is_met else "**short**"
                cells = (one.what, _target(one), _measured(one), _beside(one, ""), verdict)
                lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _mission(runs: list[Run]) -> list[str]:
    """Its own targets, by the largest store that was measured."""
    wanted = (
        ("inbox", "under 100 ms", 100.0, "reads", "inbox, 200 conversations, p95"),
        ("50 messages of history", "under 200 ms", 200.0, "reads", "history, newest page, p95"),
        ("delivery", "under 2 s", 2_000.0, "latency", "send to delivered at 200/s, p99"),
        ("disk for a store", "about 650 MB", 650.0, "storage", "messages with their indexes"),
    )
    lines = [
        "## The mission's own targets",
        "",
        "| what | the mission's target | measured | by what factor it is beaten | store |",
        "|---|---|---|---|---|",
    ]
    for what, said, limit, scenario, figure in wanted:
        for run in runs:
            found = [f for f in run.reports[scenario].figures if f.what == figure] if (
                scenario in run.reports) else []  # fmt: skip
            if found:
                value = median(found[0].values)
                lines.append(
                    f"| {what} | {said} | {brief(value)} {found[0].unit} ({figure}) |"
                    f" {brief(limit / value)} | {run.reports[scenario].size} |"
                )
                break
    for run in runs:
        if "saturation" in run.reports:
            figure_ = run.reports["saturation"].figures[0]
            rate = median(figure_.values)
            lines.append(
                "| 300 to 500 members active, 50 messages a member a day | 25,000 messages a day"
                f" (0.29/s; all within one hour: 7/s) | {brief(rate)}/s, 500 members at once |"
                f" {brief(rate / 7)} (against all within one hour) |"
                f" {run.reports['saturation'].size} |"
            )
            break
    return [*lines, ""]


def _growth(runs: dict[str, Run], pictures: Path) -> tuple[list[str], list[Path]]:
    """What was measured in stores of several sizes: the target is 1.3 from a tenth to the whole."""
    shown = [runs[name] for name in GROWTH if name in runs and "reads" in runs[name].reports]
    if len(shown) < 2:
        return [], []
    sizes = [run.reports["reads"].size.split(" ", 1)[0] + " messages" for run in shown]
    lines = [
        "## From a small store to a large one",
        "",
        GROWTH_SAYS,
        "",
        "| what | " + " | ".join(sizes) + " | last to first |",
        "|---|" + "---|" * (len(shown) + 1),
    ]
    costs: list[tuple[str, list[float]]] = []
    for what, found in _in_all(shown):
        values = [median(one.values) for one in found]
        cells = [f"{brief(value)} {found[0].unit}" for value in values]
        ratio = brief(values[-1] / values[0]) if values[0] else ""
        lines.append(f"| {what} | {' | '.join(cells)} | {ratio} |")
        if found[0].unit == "ms" and values[0] and what.endswith(COST):
            costs.append((what, values))
    chart = Chart(
        name="growth", title="Cost of an operation as the store grows",
        unit="times that in the smallest store",
        series=[
            Series(name=size, points=[(what, values[at] / values[0]) for what, values in costs])
            for at, size in enumerate(sizes)
        ],
    )  # fmt: skip
    path = pictures / "bench-growth.svg"
    path.write_text(charts.draw(chart), "utf-8")
    return [*lines, "", f"![{chart.title}](images/{path.name})", ""], [path]


def _in_all(runs: list[Run]) -> Iterator[tuple[str, list[Figure]]]:
    """Each figure that every one of these runs has, by its name."""
    for scenario in ("reads", "latency", "saturation"):
        by_name: dict[str, list[Figure]] = {}
        for run in runs:
            for one in run.reports[scenario].figures if scenario in run.reports else ():
                by_name.setdefault(one.what, []).append(one)
        yield from ((what, found) for what, found in by_name.items() if len(found) == len(runs))


def _scenario(run: Run, report: Report, machine: dict[str, str]) -> list[str]:
    lines = [f"### {report.title} (`{RUNS[run.name]}`)", "", report.how, ""]
    store = f"Store: {report.size}. " if report.size else ""
    when = f"Commit {machine['commit']}, {machine['day']}; {report.took_s:.0f} s."
    lines += [store + when, ""]
    lines += ["| what | measured | baseline | target |", "|---|---|---|---|"]
    for one in report.figures:
        note = f" ({one.note})" if one.note else ""
        target = _target(one) + ("" if one.is_met is None else ": met" if one.is_met else ": short")
        lines.append(f"| {one.what} | {_measured(one)}{note} | {_beside(one, '')} | {target} |")
    lines.append("")
    if report.notes:
        lines += [f"- {note}" for note in report.notes] + [""]
    lines += [f"![{chart.title}](images/{_picture(run, chart.name)})\n" for chart in report.charts]
    return lines


def _picture(run: Run, name: str) -> str:
    return f"bench-{run.name}-{name}.svg"


def _draw(run: Run, report: Report, folder: Path) -> list[Path]:
    written = []
    for chart in report.charts:
        path = folder / _picture(run, chart.name)
        path.write_text(charts.draw(chart), "utf-8")
        written.append(path)
    return written


def _measured(one: Figure) -> str:
    least, most = spread(one.values)
    unit = f" {one.unit}" if one.unit else ""
    if len(one.values) < 2:
        return f"{brief(median(one.values))}{unit}"
    return f"{brief(median(one.values))}{unit} ({brief(least)} to {brief(most)})"


def _beside(one: Figure, lead: str = "; ") -> str:
    if not one.baseline:
        return ""
    least, most = spread(one.ratios)
    return (
        f"{lead}{one.baseline_is}: {brief(median(one.baseline))}; ratio {brief(median(one.ratios))}"
        f" ({brief(least)} to {brief(most)})"
    )


def _target(one: Figure, lead: str = "") -> str:
    if one.target is None:
        return ""
    word = "at least" if one.at_least else "at most"
    unit = " x the baseline" if one.as_ratio else f" {one.unit}" if one.unit else ""
    return f"{lead}{word} {brief(one.target)}{unit}"

"""TEMP"""

from __future__ import annotations
from bench.stats import median, spread


def as_text(report):
    yield f"{report.title}  ({report.size}; {report.took_s:.0f} s)"
    for f in report.figures:
        lo, hi = spread(f.values)
        line = f"  {f.what:60} {median(f.values):10.3f} {f.unit} ({lo:.3f} to {hi:.3f})"
        if f.baseline:
            line += f"  | {f.baseline_is} {median(f.baseline):.3f}, ratio {median(f.ratios):.2f}"
        if f.target is not None:
            line += f"  target {'>=' if f.at_least else '<='} {f.target} {'MET' if f.is_met else 'MISSED'}"
        if f.note:
            line += f"\n      {f.note}"
        yield line


def write(*a, **k):
    return []

"""What a scenario found, beside its baseline and its target.

In charge of: the shape of results, whether a target is met, JSON.
Does not know: how anything was measured, or how it is shown.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from bench import stats

__all__ = ["Chart", "Figure", "Report", "Series"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table: a value per repetition, and the baseline's in the same repetition."""

    what: str
    unit: str
    values: list[float]
    target: float | None = None
    at_least: bool = False
    """The target is a floor, not a ceiling."""
    baseline_is: str = ""
    baseline: list[float] = field(default_factory=list)
    as_ratio: bool = False
    """The target is for the ratio to the baseline, pair by pair."""
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        """Ours to the baseline, pair by pair."""
        return [a / b for a, b in zip(self.values, self.baseline, strict=False) if b]

    @property
    def judged(self) -> float | None:
        """The median that the target is held against; None where nothing was measured."""
        values = self.ratios if self.as_ratio else self.values
        return stats.median(values) if values else None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None or self.judged is None:
            return None
        return self.judged >= self.target if self.at_least else self.judged <= self.target


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The bars of one colour."""

    name: str
    points: list[tuple[float | str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What is drawn: for each name a bar of each series."""

    name: str
    title: str
    unit: str
    series: list[Series]


@dataclass(slots=True, kw_only=True)
class Report:
    """What one scenario found."""

    scenario: str
    title: str
    how: str
    figures: list[Figure] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    size: str = ""
    took_s: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Everything, for the file."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Report:
        """Back from the file."""
        rest = {k: v for k, v in data.items() if k not in {"figures", "charts"}}
        charts = []
        for one in data["charts"]:
            series = [Series(name=s["name"], points=[(x, y) for x, y in s["points"]])
                      for s in one["series"]]  # fmt: skip
            charts.append(Chart(**{**one, "series": series}))
        return cls(**rest, figures=[Figure(**f) for f in data["figures"]], charts=charts)

"""Bars as SVG, drawn by hand: no library, readable on light and dark pages.

In charge of: places, scales and colours.
Does not know: what the numbers are.
"""

from __future__ import annotations

import math
from html import escape

from bench.figures import Chart

__all__ = ["draw"]

WIDTH, LEFT, RIGHT = 780, 275, 90
BAR, GAP, GROUP = 14, 3, 12
COLOURS = ("#2f6f9f", "#d08a2e", "#7a5aa6", "#4a8f5c")
HEAD = 46


def draw(chart: Chart) -> str:
    """A row of bars for each name, a bar for each series."""
    names = list(dict.fromkeys(str(x) for one in chart.series for x, _ in one.points))
    most = max((y for one in chart.series for _, y in one.points), default=1) or 1
    height_of_group = len(chart.series) * (BAR + GAP) + GROUP
    height = HEAD + len(names) * height_of_group + 8
    scale = (WIDTH - LEFT - RIGHT) / most
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' font-family="system-ui, sans-serif" font-size="12">'
        f"<title>{escape(chart.title)}</title>"
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#ffffff"/>'
        f'<text x="12" y="20" font-size="14" font-weight="600" fill="#222">{escape(chart.title)}'
        f' <tspan fill="#666" font-weight="400">({escape(chart.unit)})</tspan></text>'
    )
    parts = [head]
    if len(chart.series) > 1:
        parts += _legend([one.name for one in chart.series])
    for row, name in enumerate(names):
        top = HEAD + row * height_of_group
        middle = top + (height_of_group - GROUP) / 2 + 4
        parts.append(
            f'<text x="{LEFT - 8}" y="{middle:.0f}" text-anchor="end" fill="#222">'
            f"{escape(name)}</text>"
        )
        for number, one in enumerate(chart.series):
            values = [y for x, y in one.points if str(x) == name]
            if values and not math.isnan(values[0]):
                parts.append(_bar(top + number * (BAR + GAP), values[0], scale, number))
    return "".join(parts) + "</svg>\n"


def _bar(top: float, value: float, scale: float, number: int) -> str:
    length = max(1.0, value * scale)
    colour, after = COLOURS[number % len(COLOURS)], LEFT + length + 5
    return (
        f'<rect x="{LEFT}" y="{top:.0f}" width="{length:.1f}" height="{BAR}" rx="2"'
        f' fill="{colour}"/>'
        f'<text x="{after:.0f}" y="{top + BAR - 3:.0f}" fill="#444">{brief(value)}</text>'
    )


def _legend(names: list[str]) -> list[str]:
    parts, at = [], LEFT
    for number, name in enumerate(names):
        parts.append(
            f'<rect x="{at}" y="28" width="10" height="10" fill="{COLOURS[number]}"/>'
            f'<text x="{at + 14}" y="37" fill="#444">{escape(name)}</text>'
        )
        at += 34 + 7 * len(name)
    return parts


def brief(value: float) -> str:
    """Three figures, no more."""
    if math.isnan(value):
        return "none"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"

"""A chart of drifts over time, as one SVG file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 860, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 210, 58, 44
COLOURS = ("#D55E00", "#0072B2", "#009E73")  # told apart by every kind of colour vision
_DASHES = ("7 3", "2 3", "none")  # and without colour

Points = Sequence[tuple[float, float]]  # seconds, events


def svg(title: str, lines: Mapping[str, Points], marks: Mapping[str, float]) -> str:
    """Return the chart.

    Parameters
    ----------
    lines : per name its points; the last one's value is written at its end
    marks : what happened, and when (seconds)
    """
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points] + [0.0]
    low, high = min(ys), max(ys)
    room = max((high - low) * 0.08, 1.0)
    low, high, last = low - room, high + room, max(xs)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (WIDTH - _LEFT - _RIGHT) * x / last
        down = (HEIGHT - _TOP - _BOTTOM) * (high - y) / (high - low)
        return round(_LEFT + across, 1), round(_TOP + down, 1)

    parts = [f'<text x="{_LEFT}" y="22" font-size="15" font-weight="600">{escape(title)}</text>']
    parts += _grid(at, low, high, last)
    parts += [_mark(at(seconds, 0)[0], what, i % 2) for i, (what, seconds) in enumerate(marks.items())]
    labels = _spread({name: at(*points[-1])[1] for name, points in lines.items()})
    for (name, points), colour, dash in zip(lines.items(), COLOURS, _DASHES, strict=False):
        path = " ".join(f"{x},{y}" for x, y in (at(*point) for point in points))
        end = f"{points[-1][1]:+,.0f}" if points[-1][1] else "0"
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5" stroke-dasharray="{dash}"/>'
        )
        parts.append(f'<text x="{WIDTH - _RIGHT + 8}" y="{labels[name]}" fill="{colour}">{escape(name)}: {end}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *parts, "</svg>\n"])


def _grid(at, low: float, high: float, last: float) -> list[str]:  # type: ignore[no-untyped-def]
    parts = []
    for y in _ticks(low, high):
        (left, down), (right, _) = at(0, y), at(last, y)
        stroke = "#444" if y == 0 else "#ddd"
        parts.append(f'<line x1="{left}" y1="{down}" x2="{right}" y2="{down}" stroke="{stroke}"/>')
        parts.append(
            f'<text x="{left - 8}" y="{down + 4}" text-anchor="end" fill="#444">{f"{y:+,.0f}" if y else "0"}</text>'
        )
    for x in _ticks(0, last):
        across = at(x, low)[0]
        parts.append(
            f'<text x="{across}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="middle" fill="#444">{x:.0f} s</text>'
        )
    return parts


def _mark(across: float, what: str, row: int) -> str:
    line = (
        f'<line x1="{across}" y1="{_TOP}" x2="{across}" y2="{HEIGHT - _BOTTOM}" stroke="#888" stroke-dasharray="2 4"/>'
    )
    return line + f'<text x="{across + 4}" y="{_TOP - 4 - 12 * row}" font-size="11" fill="#444">{escape(what)}</text>'


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers in a range, at most eight."""
    step = next(s * 10**e for e in range(9) for s in (1, 2, 5) if (high - low) / (s * 10**e) <= 8)
    first = -(-low // step)
    return [i * step for i in range(int(first), int(high // step) + 1)]


def _spread(wanted: Mapping[str, float]) -> dict[str, float]:
    """Return heights of labels that do not touch."""
    heights: dict[str, float] = {}
    for name, height in sorted(wanted.items(), key=lambda item: item[1]):
        heights[name] = max(height + 4, max(heights.values(), default=-99.0) + 16)
    return heights

"""A chart a metric, as one SVG file that needs nothing else: bars of one unit, or lines."""

from __future__ import annotations

from html import escape

from bench.results import Result
from bench.why.chart import COLOURS

WIDTH = 860
_ROW, _LEFT, _RIGHT, _TOP = 22, 300, 110, 46
_HEIGHT = 380
_DOTS = 40  # a line of more points is drawn without them


def of(result: Result) -> str:
    """Return the chart of a metric, empty when it has nothing to draw."""
    if result.lines:
        return _lines(result)
    return _bars(result) if result.bars else ""


def _bars(result: Result) -> str:
    most = max(result.bars.values()) or 1.0
    parts = []
    for i, (name, value) in enumerate(result.bars.items()):
        y, long = _TOP + i * _ROW, (WIDTH - _LEFT - _RIGHT) * max(value, 0.0) / most
        colour = COLOURS[0] if name.startswith("braid") else COLOURS[1]
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 14}" text-anchor="end" fill="#444">{escape(name)}</text>')
        parts.append(f'<rect x="{_LEFT}" y="{y + 3}" width="{long:.1f}" height="{_ROW - 7}" fill="{colour}"/>')
        parts.append(
            f'<text x="{_LEFT + long + 6:.1f}" y="{y + 14}" fill="#222">{value:,.3g} {escape(result.unit)}</text>'
        )
    return _svg(result.title, _TOP + len(result.bars) * _ROW + 12, parts)


def _lines(result: Result) -> str:
    points = [p for line in result.lines.values() for p in line]
    wide, high = max(x for x, _ in points) or 1.0, max(y for _, y in points) or 1.0
    left, right, bottom = 70, 210, 50

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            round(left + (WIDTH - left - right) * x / wide, 1),
            round(_TOP + (_HEIGHT - _TOP - bottom) * (1 - y / high), 1),
        )

    parts = []
    for part in (0, 0.25, 0.5, 0.75, 1):
        (x, y), (_, low) = at(wide * part, high * part), at(0, 0)
        parts.append(f'<line x1="{left}" y1="{y}" x2="{WIDTH - right}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end" fill="#444">{high * part:,.3g}</text>')
        parts.append(f'<text x="{x}" y="{low + 18}" text-anchor="middle" fill="#444">{wide * part:,.3g}</text>')
    parts.append(
        f'<text x="{left}" y="{_HEIGHT - 12}" fill="#444">{escape(result.across)}; upward: {escape(result.unit)}</text>'
    )
    for i, (name, line) in enumerate(result.lines.items()):
        colour, dash = COLOURS[i % len(COLOURS)], ("none", "7 3", "2 3")[i // len(COLOURS) % 3]
        path = " ".join(f"{x},{y}" for x, y in (at(*p) for p in sorted(line)))
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5" stroke-dasharray="{dash}"/>'
        )
        if len(line) <= _DOTS:
            parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in (at(*p) for p in line)]
        parts.append(f'<text x="{WIDTH - right + 8}" y="{_TOP + 14 + 18 * i}" fill="{colour}">{escape(name)}</text>')
    return _svg(result.title, _HEIGHT, parts)


def _svg(title: str, height: int, parts: list[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">'
    name = f'<text x="12" y="24" font-size="15" font-weight="600">{escape(title)}</text>'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height}" fill="white"/>', name, *parts, "</svg>\n"])

"""What a run leaves: one JSON with everything, one Markdown table, one chart a metric."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import charts, noise
from bench.lab import CHECKOUT
from bench.results import Result, Row
from bench.stats import quantile

_HEAD = "| what | Braid | anchor | ratio (min · middle · max) | target | met |\n|---|---|---|---|---|---|"


@dataclass(frozen=True, slots=True)
class Facts:
    """About the run as a whole."""

    began_s: float
    seconds: float
    quick: bool
    noise_before: dict[str, float]
    noise_after: dict[str, float]
    spins_s: Sequence[float] = ()


def write(out: Path, facts: Facts, results: Sequence[Result]) -> Path:
    """Write JSON, table and charts; return the path of the table."""
    commit = noise.commit(CHECKOUT)
    stem = time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime(facts.began_s)) + (f"-{commit}" if commit else "")
    stem += "-quick" if facts.quick else ""
    charts_ = out / stem
    charts_.mkdir(parents=True)
    machine, versions = noise.machine(), noise.versions()
    whole = {
        "run": asdict(facts) | {"commit": commit}, "machine": machine, "versions": versions,
        "results": [asdict(r) | {"rows": [asdict(row) | {"met": row.met} for row in r.rows]} for r in results],
    }  # fmt: skip
    (out / f"{stem}.json").write_text(json.dumps(whole, separators=(",", ":")) + "\n", "utf-8")
    for result in results:
        if drawn := charts.of(result):
            (charts_ / f"{result.metric}.svg").write_text(drawn, "utf-8")
    table = out / f"{stem}.md"
    table.write_text(text(facts, commit, machine, versions, results, stem), "utf-8")
    return table


def text(
    facts: Facts,
    commit: str,
    machine: dict[str, object],
    versions: dict[str, str],
    results: Sequence[Result],
    stem: str,
) -> str:
    """Return the table with what must be known to read it."""
    ms = [spin_s * 1000 for spin_s in facts.spins_s]
    spins = (
        f"{quantile(ms, 0.5):.2f} ms of a core, {min(ms):.2f} to {max(ms):.2f} over {len(ms)} slices"
        if ms
        else "no slice"
    )
    lines = [
        f"# Benchmark of {time.strftime('%Y-%m-%d %H:%M', time.gmtime(facts.began_s))} UTC"
        + (", tiny sizes: no measurement" if facts.quick else ""),
        "",
        f"Commit {commit or 'unknown'}; {machine['cores']} cores, {machine['processor']}, {machine['memory_gb']} GB, {machine['system']}; "
        f"{facts.seconds / 60:.0f} minutes. Everything shares these cores, the load too.",
        "",
        f"A fixed spin: {spins}; a 4 KB write with fsync "
        f"{facts.noise_before['sync_s'] * 1000:.1f} and {facts.noise_after['sync_s'] * 1000:.1f} ms; load {facts.noise_before['load']:.1f} and "
        f"{facts.noise_after['load']:.1f}; stolen {facts.noise_after['steal_s'] - facts.noise_before['steal_s']:.0f} s.",
        "",
        ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
    ]
    for result in results:
        lines += ["", f"## {result.title}", "", _HEAD, *(_line(row) for row in result.rows)]
        if result.bars or result.lines:
            lines += ["", f"![{result.title}]({stem}/{result.metric}.svg)"]
        if result.void:
            lines += ["", f"Void ({len(result.void)}): " + "; ".join(result.void)]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    between = row.ratio
    ratio = f"{_short(between.low)} · {_short(between.middle)} · {_short(between.high)}" if between else ""
    met = "" if row.met is None else "yes" if row.met else "**no**"
    what = row.what + (f" ({row.note})" if row.note else "")
    anchor = "" if row.anchor is None else f"{_short(row.anchor)} {row.unit}, {row.beside}"
    product = "–" if row.product is None else f"{_short(row.product)} {row.unit}"
    cells = (what, product, anchor, ratio, "" if row.target is None else str(row.target), met)
    return "| " + " | ".join(cell.strip().replace("|", "/").replace("\n", " ") for cell in cells) + " |"


def _short(number: float) -> str:
    """Return three digits of a number.

    Examples
    --------
    >>> _short(45123.4), _short(0.12345), _short(7.0)
    ('45,100', '0.123', '7')
    """
    rounded = float(f"{number:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"

"""Whether two runs say the same: the ratios of both, row by row, and how far apart they are.

    .venv/bin/python -m bench.agree bench/results/<run>.json bench/results/<run>.json

Only ratios are compared, for they are what is claimed; a row that one of the runs lacks, or that was void in it, is told. Exits
with 1 when a ratio differs by more than the bound.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BOUND = 1.15  # the greater over the smaller of two ratios that agree
HEAD = "| metric | what | beside | ratio of one | of the other | apart | agree |\n|---|---|---|---|---|---|---|"


def main() -> int:
    """Print the table; return 1 when two ratios do not agree."""
    if len(sys.argv) != 3:
        print("agree: expected two results, bench/results/<run>.json each", file=sys.stderr)
        return 2
    one, other = (json.loads(Path(path).read_text("utf-8")) for path in sys.argv[1:])
    lines = list(table(one, other))
    print("\n".join(lines))
    return int(any(line.endswith("**no** |") for line in lines))


def table(one: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the table of two runs."""
    yield HEAD
    ours, theirs = _ratios(one), _ratios(other)
    for row in ours | theirs:
        both = [found for run in (ours, theirs) if (found := run.get(row)) is not None]
        apart = max(both) / min(both)
        cells = [*row, *(f"{run[row]:.3g}" if row in run else "–" for run in (ours, theirs))]
        cells += [f"{apart - 1:.0%}", "yes" if apart <= BOUND else "**no**"] if len(both) == 2 else ["", ""]
        yield "| " + " | ".join(cells) + " |"


def _ratios(run: dict[str, Any]) -> dict[tuple[str, str, str], float]:
    return {
        (result["metric"], row["what"], row["beside"]): row["ratio"]["middle"]
        for result in run["results"]
        for row in result["rows"]
        if row["ratio"]
    }


if __name__ == "__main__":
    sys.exit(main())

"""Numbers finished from states by the second path: from sums and the canonical texts of `braid.receipts`, sharing no code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

from braid.declaration import QUANTILES

_KEPT = 1024  # hashes of a full state of distinct values


def quantile(bins: str, percent: int, scale: int) -> float | None:
    """Return the middle of the bin that holds the value of rank ceil(percent/100 · n), None without values."""
    held = [tuple(map(int, pair.split(":"))) for pair in bins.split(",") if pair]
    n = sum(count for _, count in held)
    left = -((-percent * n) // 100)
    for bin_, count in held:
        left -= count
        if left <= 0:
            low, high = _ends(abs(bin_))
            middle = Fraction(low + high, 2) * (1 if bin_ >= 0 else -1)
            return float(middle / 10**scale)
    return None


def _ends(bin_: int) -> tuple[int, int]:
    """Return the least and the greatest integer of a bin: 64 bins from 2^k to 2^(k+1), from 64 on."""
    if bin_ < 128:
        return bin_, bin_
    octave, place = divmod(bin_ - 64, 64)
    width = 2**octave
    return (64 + place) * width, (64 + place) * width + width - 1


def distinct(hashes: str) -> int:
    """Return the number of distinct values: as many as hashes, or (k − 1) over the share of 2^64 that they fill."""
    kept = len(hashes) // 16
    if kept < _KEPT:
        return kept
    last = int(hashes[-16:], 16)
    signed = last - 2**64 if last >= 2**63 else last
    return round(Fraction((_KEPT - 1) * 2**64, signed + 2**63 + 1))


def latest(event: str, scale: int) -> float | str | None:
    """Return the value at the end of the text of the latest event, None of no event."""
    if not event:
        return None
    value = json.loads(event.split(" ", 5)[5])
    return value if isinstance(value, str) else float(Fraction(value, 10**scale))


def finished(held: Sequence[Any], stat: str, scale: int) -> Any:
    """Return a finished number: exact until one last rounding to a double."""
    if stat == "distinct":
        return distinct(held[0])
    if stat in QUANTILES:
        return quantile(held[0], QUANTILES[stat], scale)
    if stat == "latest":
        return latest(held[0], scale)
    n, total, squares, low, high = held
    one = 10**scale
    if stat == "n":
        return n
    if n == 0 or (stat == "stddev" and n < 2):
        return None
    if stat == "stddev":
        exact = Context(prec=80)
        variance = exact.divide(Decimal(n * squares - total * total), Decimal(n * (n - 1) * one * one))
        return float(exact.sqrt(variance))
    numerator = {"sum": total, "mean": total, "min": low, "max": high}[stat]
    return float(Fraction(numerator or 0, one * (n if stat == "mean" else 1)))

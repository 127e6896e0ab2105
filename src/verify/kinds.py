"""Numbers finished from states that are no moments, by the second path: from the canonical texts of docs, sharing no code."""

from __future__ import annotations

from fractions import Fraction

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

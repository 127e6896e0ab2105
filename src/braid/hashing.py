"""The hash of an event's id, as Spark's `xxhash64` chains it, in pure Python.

Spark hashes the first column with the seed 42 and every further one with the hash of the one before; a string is
hashed as its UTF-8 bytes, a bigint as its 8 bytes, little end first, and a null leaves the hash as it is. The hash is
XXH64 (Yann Collet, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md), printed as a signed integer.
"""

from __future__ import annotations

from collections.abc import Iterable

from braid.grammar import SALT

_MASK = (1 << 64) - 1
_P1, _P2, _P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_P4, _P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
_SEED = 42


def xxhash64(values: Iterable[str | int | None]) -> int:
    """Return Spark's `xxhash64(values…)`: a signed 64-bit integer; integers are bigints.

    Examples
    --------
    >>> xxhash64(["Spark", 1])
    -3786025766646407443
    """
    hashed = _SEED
    for value in values:
        if value is not None:
            data = value.encode() if isinstance(value, str) else value.to_bytes(8, "little", signed=True)
            hashed = _xxh64(data, hashed)
    return hashed - (1 << 64) if hashed >> 63 else hashed


def id_hashes(topic: str, values: Iterable[str | int | None]) -> tuple[int, int]:
    """Return (id64, salted64) of an event id: the salt stands first, so that the two are independent."""
    chain = [topic, *values]
    return xxhash64(chain), xxhash64([SALT, *chain])


def _rotate(x: int, bits: int) -> int:
    return ((x << bits) | (x >> (64 - bits))) & _MASK


def _round(acc: int, lane: int) -> int:
    return _rotate((acc + lane * _P2) & _MASK, 31) * _P1 & _MASK


def _stripes(data: bytes, seed: int) -> int:
    acc = [(seed + _P1 + _P2) & _MASK, (seed + _P2) & _MASK, seed, (seed - _P1) & _MASK]
    for start in range(0, len(data) - 31, 32):
        for i in range(4):
            acc[i] = _round(acc[i], int.from_bytes(data[start + 8 * i : start + 8 * i + 8], "little"))
    h = sum(_rotate(a, bits) for a, bits in zip(acc, (1, 7, 12, 18), strict=True)) & _MASK
    for a in acc:
        h = ((h ^ _round(0, a)) * _P1 + _P4) & _MASK
    return h


def _xxh64(data: bytes, seed: int) -> int:
    h = _stripes(data, seed) if len(data) >= 32 else (seed + _P5) & _MASK
    h = (h + len(data)) & _MASK
    at = len(data) // 32 * 32
    while at + 8 <= len(data):
        h = (_rotate(h ^ _round(0, int.from_bytes(data[at : at + 8], "little")), 27) * _P1 + _P4) & _MASK
        at += 8
    if at + 4 <= len(data):
        h = (_rotate(h ^ int.from_bytes(data[at : at + 4], "little") * _P1 & _MASK, 23) * _P2 + _P3) & _MASK
        at += 4
    for byte in data[at:]:
        h = _rotate(h ^ byte * _P5 & _MASK, 11) * _P1 & _MASK
    h = (h ^ h >> 33) * _P2 & _MASK
    h = (h ^ h >> 29) * _P3 & _MASK
    return h ^ h >> 32

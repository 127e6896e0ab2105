"""XXH64 over whole columns: the id's hash of docs/records.md for millions of events, in numpy.

DuckDB's own `hash` is another function and its xxHash is an extension to be downloaded, so the function is written here
anew, from its specification (Yann Collet, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md), for arrays;
`braid.hashing`, which hashes one value with Python's integers, is not used. Rows of equal length are hashed together,
each with a seed of its own: a chain hashes the next column with the hash of the one before.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Hashes: TypeAlias = npt.NDArray[np.uint64]
Bytes: TypeAlias = npt.NDArray[np.uint8]

SEED = 42
_P1, _P2, _P3, _P4, _P5 = map(
    np.uint64,
    (11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579, 2870177450012600261),
)


def chain(topic: str, columns: list[Any], rows: int) -> Hashes:
    """Return the hashes of ids: of the topic's name, then of each column's values.

    Parameters
    ----------
    columns : of the id's fields in order, without nulls: arrow strings, or int64 numpy arrays
    rows : their common length
    """
    name = np.frombuffer(topic.encode(), np.uint8)
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is meant
        first = hashed(name[None, :], np.full(1, SEED, np.uint64))
    return _chained(columns, np.repeat(first, rows))


def plain(columns: list[Any], rows: int) -> Hashes:
    """Return the hashes of columns' values alone."""
    return _chained(columns, np.full(rows, SEED, np.uint64))


def _chained(columns: list[Any], found: Hashes) -> Hashes:
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is meant
        for column in columns:
            found = _of_numbers(column, found) if isinstance(column, np.ndarray) else _of_strings(column, found)
    return found


def _of_numbers(column: npt.NDArray[np.int64], seeds: Hashes) -> Hashes:
    return hashed(np.ascontiguousarray(column, "<i8").view(np.uint8).reshape(-1, 8), seeds)


def _of_strings(column: Any, seeds: Hashes) -> Hashes:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    array = array.cast(pa.large_string())
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    content = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    lengths = np.diff(ends)
    result = np.empty(len(array), np.uint64)
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        matrix = content[ends[chosen][:, None] + np.arange(length)]
        result[chosen] = hashed(matrix, seeds[chosen])
    return result


def hashed(rows: Bytes, seeds: Hashes) -> Hashes:
    """Return the XXH64 of the rows of a matrix of bytes, each with its own seed."""
    length = rows.shape[1]
    at = length - length % 32
    h = _stripes(rows[:, :at], seeds) if at else seeds + _P5
    h = h + np.uint64(length)
    for start in range(at, length - 7, 8):
        h = _turn(h ^ _round(np.uint64(0), _lane(rows, start, 8)), 27) * _P1 + _P4
    at += (length - at) // 8 * 8
    if length - at >= 4:
        h = _turn(h ^ _lane(rows, at, 4) * _P1, 23) * _P2 + _P3
        at += 4
    for i in range(at, length):
        h = _turn(h ^ rows[:, i].astype(np.uint64) * _P5, 11) * _P1
    h = (h ^ h >> np.uint64(33)) * _P2
    h = (h ^ h >> np.uint64(29)) * _P3
    found: Hashes = h ^ h >> np.uint64(32)
    return found


def _stripes(rows: Bytes, seeds: Hashes) -> Hashes:
    accumulators = [seeds + _P1 + _P2, seeds + _P2, seeds.copy(), seeds - _P1]
    for start in range(0, rows.shape[1], 32):
        for i in range(4):
            accumulators[i] = _round(accumulators[i], _lane(rows, start + 8 * i, 8))
    a, b, c, d = accumulators
    h = _turn(a, 1) + _turn(b, 7) + _turn(c, 12) + _turn(d, 18)
    for accumulator in accumulators:
        h = (h ^ _round(np.uint64(0), accumulator)) * _P1 + _P4
    return h


def _lane(rows: Bytes, start: int, size: int) -> Hashes:
    """Return `size` bytes of every row as one number, little end first."""
    piece = np.ascontiguousarray(rows[:, start : start + size])
    return piece.view(f"<u{size}").reshape(-1).astype(np.uint64)


def _round(accumulator: Any, lane: Hashes) -> Hashes:
    return _turn(accumulator + lane * _P2, 31) * _P1


def _turn(x: Any, bits: int) -> Hashes:
    found: Hashes = (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))
    return found

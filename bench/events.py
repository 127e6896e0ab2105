"""The load of the benchmark: land-cover events made beforehand from a seed, and what a correct answer holds after them.

Values are of a normal distribution, so that about 4.6 % of the events raise a 2σ alert, as real measurements would. A
thousandth are copies of the event before, and as many are cut short and become dead letters. The event time of event i
is its minute of an hour that has passed; six windows of ten minutes are filled in turn.

Probes are events of a class of their own, all in one partition, so that the k-th one is seen when an answer counts k.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from braid.instants import instant_us

CLASSES = (
    "red soil",
    "cotton crop",
    "grey soil",
    "damp grey soil",
    "soil with vegetation stubble",
    "very damp grey soil",
)
PROBE = "probe"
WINDOW_US = 600_000_000
START_US = 1_767_225_600_000_000  # 2026-01-01
_MINUTE_US = 60_000_000
_COPY, _DEAD, _EVERY = 999, 500, 1_000
_PROBE_X = 500_000

Ints = npt.NDArray[np.int64]
State = tuple[int, int, int, int, int]  # n, Σx, Σx², min, max of x = value·10^6
Cell = tuple[int, str]  # start of the window (µs UTC), class


@dataclass
class Reference:
    """What a correct answer holds: states by window and class, and how many records were no good ones."""

    states: dict[Cell, State] = field(default_factory=dict)
    good: int = 0
    copies: int = 0
    dead: int = 0

    def add(self, other: Reference) -> None:
        """Count what another load held, whose ids are others."""
        for cell, state in other.states.items():
            self.states[cell] = merged(self.states[cell], state) if cell in self.states else state
        self.good, self.copies, self.dead = self.good + other.good, self.copies + other.copies, self.dead + other.dead

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it; `reference` reads it back."""
        states = [[*cell, *state] for cell, state in self.states.items()]
        return {"states": states, "good": self.good, "copies": self.copies, "dead": self.dead}

    def by_class(self) -> dict[str, State]:
        """Return the states of all time."""
        found: dict[str, State] = {}
        for (_, name), state in self.states.items():
            found[name] = merged(found[name], state) if name in found else state
        return found


def reference(plain: dict[str, Any]) -> Reference:
    """Return what `Reference.plain` gave."""
    states = {(start, name): (n, *rest) for start, name, n, *rest in plain["states"]}
    return Reference(states, plain["good"], plain["copies"], plain["dead"])


def merged(a: State, b: State) -> State:
    """Return the state of the events of both.

    Examples
    --------
    >>> merged((1, 2, 4, 2, 2), (1, 3, 9, 3, 3))
    (2, 5, 13, 2, 3)
    """
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], min(a[3], b[3]), max(a[4], b[4])


@dataclass(frozen=True, slots=True)
class Load:
    """Records in the order of sending."""

    keys: list[bytes]
    raws: list[bytes]
    reference: Reference


def load(seed: int, first: int, count: int) -> Load:
    """Return `count` records from number `first` on; the same seed and numbers give the same bytes.

    Examples
    --------
    >>> made = load(1, 0, 2000)
    >>> made.reference.good, made.reference.copies, made.reference.dead
    (1996, 2, 2)
    """
    at, classes, minutes, values = _numbers(seed, first, count)
    copies, dead = at % _EVERY == _COPY, at % _EVERY == _DEAD
    if count:
        copies[0] = False  # the event before it is of another load
    source = np.where(copies, at - 1, at) - first
    rows = zip(
        at[source].tolist(), classes[source].tolist(), minutes[source].tolist(), values[source].tolist(), strict=True
    )
    keys, raws = [], []
    for i, c, m, v in rows:
        keys.append(b"P%d-%09d" % (seed, i))
        raws.append(record(f"P{seed}-{i:09d}", CLASSES[c], m, v))
    for i in np.flatnonzero(dead).tolist():
        raws[i] = raws[i][:-1]
    good = ~copies & ~dead
    windows = _window(minutes)
    reference = counted(windows[good], classes[good], values[good])
    reference.copies, reference.dead = int(copies.sum()), int(dead.sum())
    return Load(keys, raws, reference)


def _numbers(seed: int, first: int, count: int) -> tuple[Ints, Ints, Ints, Ints]:
    rng = np.random.default_rng([seed, first])
    at = np.arange(first, first + count, dtype=np.int64)
    classes = rng.integers(0, len(CLASSES), count)
    values = np.clip((rng.normal(0.3, 0.1, count) * 10**6).astype(np.int64), -(10**6), 10**6)
    return at, classes, at % 60, values


def _window(minutes: Ints) -> Ints:
    found: Ints = (START_US + minutes * _MINUTE_US) // WINDOW_US * WINDOW_US
    return found


def counted(windows: Ints, classes: Ints, values: Ints) -> Reference:
    """Return the states of some good events; exact as long as Σx² of a cell stays below 2^63 (9 million events)."""
    found = Reference(good=len(values))
    if not len(values):
        return found
    cells, index = np.unique(windows * len(CLASSES) + classes, return_inverse=True)
    order = np.argsort(index, kind="stable")
    x, starts = values[order], np.searchsorted(index[order], np.arange(len(cells)))
    columns = [
        np.bincount(index),
        np.add.reduceat(x, starts),
        np.add.reduceat(x * x, starts),
        np.minimum.reduceat(x, starts),
        np.maximum.reduceat(x, starts),
    ]
    for cell, n, total, squares, low, high in zip(cells.tolist(), *(c.tolist() for c in columns), strict=True):
        found.states[cell // len(CLASSES), CLASSES[cell % len(CLASSES)]] = (n, total, squares, low, high)
    return found


def probes(run: str, count: int) -> Load:
    """Return the probes of one slice, whose name makes their ids."""
    keys = [f"probe-{run}-{k}".encode() for k in range(count)]
    raws = [record(key.decode(), PROBE, 0, _PROBE_X) for key in keys]
    reference = Reference(good=count)
    if count:
        reference.states[START_US // WINDOW_US * WINDOW_US, PROBE] = (
            count, count * _PROBE_X, count * _PROBE_X**2, _PROBE_X, _PROBE_X,
        )  # fmt: skip
    return Load(keys, raws, reference)


def record(id_: str, class_name: str, minute: int, x: int) -> bytes:
    """Return one record, whose NDVI is x·10^-6."""
    value = decimal(x)
    return (
        f'{{"image_id": "{id_}", "class_name": "{class_name}", "timestamp": "{iso(minute)}", "ndvi_mean": {value}, "ndvi_std": 0.125, '
        f'"ndvi_min": {value}, "ndvi_max": 1, "green_mean": 12.5, "red_mean": 1.25, "nir1_mean": null, "nir2_mean": 99}}'
    ).encode()


def iso(minute: int) -> str:
    """Return the time of a minute, as records write it.

    Examples
    --------
    >>> iso(61)
    '2026-01-01T01:01:00'
    """
    day, rest = divmod(minute, 1440)
    return f"2026-01-{day + 1:02d}T{rest // 60:02d}:{rest % 60:02d}:00" if day < 31 else _long(minute)


def _long(minute: int) -> str:
    return str(np.datetime64((START_US + minute * _MINUTE_US) // 10**6, "s"))


def decimal(x: int) -> str:
    """Return x·10^-6 as JSON.

    Examples
    --------
    >>> decimal(-12), decimal(1_500_000)
    ('-0.000012', '1.500000')
    """
    return f"{'-' if x < 0 else ''}{abs(x) // 10**6}.{abs(x) % 10**6:06d}"


def declaration(root: Path, name: str) -> str:
    """Return the land-cover declaration under another name, with the class of the probes, without its paths."""
    text = (root / "datasets" / "landcover.yaml").read_text(encoding="utf-8")
    text = text.replace("dataset: landcover", f"dataset: {name}").replace(
        "topic: image-events", f"topic: {name}-events"
    )
    text = text.replace("very damp grey soil]", f"very damp grey soil, {PROBE}]")
    return (
        text[: text.index("\n# Paths that earlier users know")]
        if "\n# Paths that" in text
        else text[: text.index("\napi:")]
    )


def states_of(rows: Iterable[dict[str, object]], window_us: int = WINDOW_US) -> dict[Cell, State]:
    """Return the states that an answer with `state=1` holds, in the reference's form."""
    found: dict[Cell, State] = {}
    for row in rows:
        held = row["state"]["measures"]["ndvi"]  # type: ignore[index]
        start = instant_us(str(row["window_start"])) if window_us else 0
        n, total, squares, low, high = (int(held[part]) for part in ("n", "sum", "sumsq", "min", "max"))
        found[start, str(row["class_name"])] = (n, total, squares, low, high)
    return found

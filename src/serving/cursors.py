"""Cursors: where a listing was cut, and the snapshot that all its pages belong to.

A page must be of the same (generation, seq) as the first one, else rows would be left out or told twice while the tail
grows. So a cursor names the snapshot, the resolved bounds and how many rows came before; the snapshot itself is kept,
for the newest few listings and some minutes. When it is no longer held the cursor is answered 410: start again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import astuple, dataclass

from serving.problems import Problem
from serving.snapshot import Snapshot

KEEP = 8  # snapshots per dataset; each holds the rows of its own tail
KEEP_S = 600.0


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a listing.

    Attributes
    ----------
    generation, seq, attempt : the snapshot that the listing is of
    offset : how many rows earlier pages held
    from_us, to_us : the bounds as they were resolved for the first page
    listing : hash of the other parameters
    """

    generation: int
    seq: int
    attempt: int
    offset: int
    from_us: int | None
    to_us: int | None
    listing: str

    def text(self) -> str:
        """Return it as a client carries it; `read` takes it back."""
        words = json.dumps(astuple(self), separators=(",", ":"))
        return base64.urlsafe_b64encode(f"{short_hash(words)}{words}".encode()).decode().rstrip("=")


def short_hash(text: str) -> str:
    """Return 12 hex digits of the sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def read(text: str) -> Cursor:
    """Return the cursor that a text is.

    Raises
    ------
    ValueError
        It is none, or was changed on its way.
    """
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("not base64url") from error
    if short_hash(plain[12:]) != plain[:12]:
        raise ValueError("changed on its way")
    words = json.loads(plain[12:])
    if not isinstance(words, list) or [type(w) for w in words[:4]] != [int] * 4 or len(words) != 7 or words[3] < 0:
        raise ValueError("not the words of a cursor")
    if any(not isinstance(w, int | None) for w in words[4:6]):
        raise ValueError("not the bounds of a cursor")
    return Cursor(*words)


class Pins:
    """The snapshots that open listings belong to, the newest few of each dataset."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._held: dict[str, OrderedDict[tuple[int, int, int], tuple[float, Snapshot]]] = {}
        self._lock = threading.Lock()

    def pin(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, for a cursor into it is given out."""
        with self._lock:
            held = self._held.setdefault(snapshot.declaration.dataset, OrderedDict())
            held[_place(snapshot)] = (self._monotonic(), snapshot)
            held.move_to_end(_place(snapshot))
            while len(held) > KEEP:
                held.popitem(last=False)

    def get(self, newest: Snapshot, cursor: Cursor) -> Snapshot:
        """Return the snapshot that a cursor belongs to.

        Raises
        ------
        Problem
            410: it is no longer held.
        """
        wanted = (cursor.generation, cursor.seq, cursor.attempt)
        if _place(newest) == wanted:
            return newest
        with self._lock:
            held = self._held.get(newest.declaration.dataset, OrderedDict())
            for place in [p for p, (at_s, _) in held.items() if self._monotonic() - at_s > KEEP_S]:
                del held[place]
            if wanted in held:
                return held[wanted][1]
        raise Problem(
            410, "listing-gone",
            f"cursor: expected a listing that is still held, got one of generation {cursor.generation}, seq {cursor.seq}; "
            "start again without the cursor",
        )  # fmt: skip


def _place(snapshot: Snapshot) -> tuple[int, int, int]:
    row = snapshot.tail.row
    return snapshot.generation.current.gen, row.seq, row.attempt

"""What a view's changed rows are as messages of a topic: derived, for other programs, never read back by Braid.

After each commit the merged rows that the micro-batch changed are sent, as they are at head. A crash between the commit
and the sending is made up for by the next start, which sends the rows of the newest micro-batch again: so a message may
come twice, and never goes missing. `seq` grows with every change of a row; a reader keeps, per key, the message of the
greatest (`version`, then `seq`) it has met: the newest in the topic, for a key always has the same partition. A `null` takes
a row away.
"""

from __future__ import annotations

import json
from typing import Any

from braid.aggregates import State, finished_of
from braid.declaration import ViewSpec
from braid.instants import iso
from braid.views import Key

VERSION = 12  # characters of the definition's hash


def key_of(spec: ViewSpec, place: tuple[int, Key]) -> bytes:
    """Return a row's key: a JSON array of its window's start, where it has one, and its key columns.

    Examples
    --------
    >>> key_of(ViewSpec("v", ("cell",), 60_000_000, (), ("t",)), (0, ("a",)))
    b'["1970-01-01T00:00:00Z","a"]'
    """
    window_start_us, key = place
    return _json([*([iso(window_start_us)] if spec.window_us else []), *key])


def message_of(spec: ViewSpec, place: tuple[int, Key], state: State, seq: int, definition: str) -> bytes:
    """Return a row as a JSON object: its window, keys, finished numbers and words, n, the seq as of which, the version.

    A number that the row does not have is left out.
    """
    window_start_us, key = place
    row: dict[str, Any] = {}
    if spec.window_us:
        row = {"window_start": iso(window_start_us), "window_end": iso(window_start_us + spec.window_us)}
    row |= zip(spec.by, key, strict=True)
    row |= {name: value for name, value in finished_of(spec, state).items() if value is not None}
    return _json(row | {"n": state.n, "seq": seq, "version": definition[:VERSION]})


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()

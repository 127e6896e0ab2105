"""Receipts: what an answer claims, in one line that anybody can keep, pass on and check.

A receipt names the dataset, the view, the question as it was understood (relative times resolved), how much of the log
the answer covers (generation, ledger rows, end offsets), the definition that decided the numbers, and one digest of
the exact states behind them. Whoever has the log can compute the same digest without Braid's help, or by the second
path of `braid verify`; the claim is then true or false, with nothing in between.

**The canonical bytes of states** (`digest`). One line of JSON per row, in ASCII without spaces, each ended by `\\n`:

    [window_start_us,[key,…],n,fp,[[n,sum,sumsq,min,max],…]]

where the window's start is in microseconds since 1970 UTC (0 for all time), keys stand in the order of the view's `by`,
`n` and `fp` count the events and sum their ids' 64-bit hashes modulo 2^64, and there is one list per measure in declared
order: the events that held it, Σx, Σx², least and greatest x of the scaled integers x (the last two `null` without events);
of quantiles one text, `bin:count` joined by commas; of distinct values one text, the kept hashes as 16 hex digits each; of
the latest value one text, `event_us seq topic partition offset value`, the value as JSON (a scaled integer, or a string).
Lines are sorted by window, then by key, code point by code point. The digest is the sha256 of them all, in hex.

**The token**: `braid1.<payload>.<check>`; payload is base64url, without padding, of the receipt as JSON with sorted keys
and no spaces; check is the first 16 characters of base64url of the sha256 of all that stands before the second dot. So a
changed, lost or added character is known as such before anything is recomputed. It is no signature: who writes a new
receipt with a new check makes a new claim, which the log then refutes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeAlias

from braid.errors import ReceiptRefused

PREFIX = "braid1"
_CANONICAL = json.JSONEncoder(separators=(",", ":"))  # made once: it is asked at every row
_CHECK = 16  # characters of six bits: 96 bits of the sha256
Measure: TypeAlias = Sequence[int | str | None]
Row: TypeAlias = tuple[int, Sequence[str], int, int, Sequence[Measure]]


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked of a view, as it was answered.

    Attributes
    ----------
    layer : merged (everything up to seq), batch (up to the cut), speed (after the cut, up to seq)
    keys : (column, accepted values) pairs, in the view's order of columns
    from_us, to_us : half-open bounds of window starts, microseconds UTC, None when open
    newest_window : only the newest window of each key
    order, limit : which rows were kept when there were more than `limit` (None: all)
    window_us, by : the shape that the view's states were merged into, None for its own; bounds are then on that grid, but
        for window 0 on the view's own (`views.coarser`)
    offset : how many rows of the listing were on earlier pages
    """

    layer: Literal["merged", "batch", "speed"] = "merged"
    keys: tuple[tuple[str, tuple[str, ...]], ...] = ()
    from_us: int | None = None
    to_us: int | None = None
    newest_window: bool = False
    order: Literal["asc", "desc"] = "asc"
    limit: int | None = None
    window_us: int | None = None
    by: tuple[str, ...] | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """One answer's claim.

    Attributes
    ----------
    generation, cut_seq, seq : the batch side and its cut, and the last ledger row counted (for layer batch: the cut)
    offsets : end offsets of that row by `topic:partition`
    definition : hash of the declaration that decided the numbers
    rows, n : how many rows were answered, and the events in them
    digest : of their states (`receipts.digest`)
    """

    dataset: str
    view: str
    question: Question
    generation: int
    cut_seq: int
    seq: int
    offsets: Mapping[str, int]
    definition: str
    rows: int
    n: int
    digest: str


def digest(rows: Iterable[Row]) -> str:
    """Return the sha256 (hex) over states in their canonical bytes; the order of `rows` does not matter.

    Examples
    --------
    >>> a, b = (0, ("forest",), 1, 7, [(1, 5, 25, 5, 5)]), (0, ("fen",), 1, 9, [(0, 0, 0, None, None)])
    >>> digest([a, b]) == digest([b, a]), digest([])[:8]
    (True, 'e3b0c442')
    """
    total = hashlib.sha256()
    for window_start_us, key, n, fp, measures in sorted(rows, key=lambda row: (row[0], tuple(row[1]))):
        line = [window_start_us, list(key), n, fp, [list(m) for m in measures]]
        total.update(_CANONICAL.encode(line).encode() + b"\n")
    return total.hexdigest()


def encode(receipt: Receipt) -> str:
    """Return a receipt as one line of letters, digits, `-`, `_` and two dots.

    Examples
    --------
    >>> r = Receipt("d", "v", Question(limit=3), 1, 2, 5, {"t:0": 9}, "ab", 3, 9, "cd")
    >>> decode(encode(r)) == r
    True
    """
    text = json.dumps(asdict(receipt), sort_keys=True, separators=(",", ":"))
    head = f"{PREFIX}.{_base64(text.encode())}"
    return f"{head}.{_check(head)}"


def decode(token: str) -> Receipt:
    """Return the receipt of a token.

    Raises
    ------
    ReceiptRefused
        The token is not one, or a character of it was changed, lost or added.
    """
    head, dot, check = token.strip().rpartition(".")
    prefix, _, payload = head.partition(".")
    if not dot or prefix != PREFIX or not payload:
        shown = token.strip()[:20]
        raise ReceiptRefused(f"receipt: expected {PREFIX}.<payload>.<check>, got {shown!r}; copy meta.receipt whole")
    if check != _check(head):
        raise ReceiptRefused(
            f"receipt: expected the check {_check(head)} of its {len(payload)} characters, got {check!r}; "
            "a character was changed or lost: copy it again from the answer"
        )
    try:
        plain = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return _receipt_of(plain)
    except (ValueError, TypeError, KeyError, binascii.Error) as error:
        raise ReceiptRefused(
            f"receipt: expected one of this version of Braid, got {error!r}; the receipt was made by another version"
        ) from error


def _receipt_of(plain: dict[str, Any]) -> Receipt:
    asked = plain.pop("question")
    keys = tuple((str(column), tuple(values)) for column, values in asked.pop("keys"))
    asked["by"] = None if asked["by"] is None else tuple(asked["by"])
    if set(asked) | {"keys"} != {f.name for f in fields(Question)}:
        raise ValueError("other words of a question")
    return Receipt(question=Question(keys=keys, **asked), **plain)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _check(head: str) -> str:
    return _base64(hashlib.sha256(head.encode()).digest())[:_CHECK]

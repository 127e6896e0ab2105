"""Seen ids: what the 16 bytes of an id are, and which file of them may be trusted.

An id is two 64-bit hashes of the same event id, the second salted in front. Both are written as Spark prints them,
signed, in two's complement, most significant byte first; so the first eight bytes read as an unsigned number are
`id64 mod 2^64`, and their sum over a file equals the ledger's running `fp`. That is how a file is checked: by its
count and that sum, against the ledger.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from braid.errors import LostRace

ID_BYTES = 16
_PAIR = struct.Struct(">qq")
_FIRST = struct.Struct(">Q")


def id_bytes(id64: int, salted64: int) -> bytes:
    """Return the 16 bytes of an id from its two signed hashes.

    Examples
    --------
    >>> id_bytes(-1, 2).hex()
    'ffffffffffffffff0000000000000002'
    """
    return _PAIR.pack(id64, salted64)


def first_hash(id_: bytes) -> int:
    """Return the first hash of an id, unsigned: what `fp` sums.

    Examples
    --------
    >>> first_hash(id_bytes(-1, 2)) == (-1) % 2**64
    True
    """
    first: int = _FIRST.unpack_from(id_)[0]
    return first


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose ids a file holds. Ids of another topic, declaration or salt are other ids.

    Attributes
    ----------
    dataset : str
    topic_ids : mapping of topic to the broker's unique id of it
    definition : str, the hash of the declaration
    salt : str, what stands in front of the second hash
    """

    dataset: str
    topic_ids: Mapping[str, str]
    definition: str
    salt: str

    def text(self) -> str:
        """Return the identity as one line, equal for equal identities."""
        return json.dumps(asdict(self), sort_keys=True)


def taken_over(dataset: str, seq: int, through: int) -> LostRace:
    """Return the error of a driver whose ids of `seq` are not the next: the file is whole through another one."""
    return LostRace(
        f"{dataset}: seen ids: expected to be whole through seq {seq - 1}, got {through}; "
        "another driver has taken over, this one ends"
    )

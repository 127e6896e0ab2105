"""The seen ids: what an id is in 16 bytes, and whose ids a store holds.

An id is two 64-bit hashes of the event id, the plain one first, each in two's complement, big end first. The first is
also the event's share of every fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose ids a store holds; a store of another identity is refused and rebuilt.

    Attributes
    ----------
    dataset : str
    topic_ids : mapping, the broker's id of every topic
    definition : str, hash of the declaration in force
    """

    dataset: str
    topic_ids: Mapping[str, str]
    definition: str


def id_bytes(id64: int, salted64: int) -> bytes:
    """Return the 16 bytes of an id from its two signed hashes.

    Examples
    --------
    >>> id_bytes(-1, 2).hex()
    'ffffffffffffffff0000000000000002'
    """
    return id64.to_bytes(8, "big", signed=True) + salted64.to_bytes(8, "big", signed=True)

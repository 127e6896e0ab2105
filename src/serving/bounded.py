"""A cache with two bounds: so many entries, and so many bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """The entries put last or asked for last; the others make room. Safe to share between threads.

    Parameters
    ----------
    most : entries
    most_bytes : of all of them; one that is larger is held alone
    size : bytes of an entry
    """

    def __init__(self, most: int, most_bytes: int, size: Callable[[V], int]) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._size = size
        self._held: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._held)

    def get(self, key: K) -> V | None:
        """Return an entry, and keep it longer; None when it is not there."""
        with self._lock:
            found = self._held.get(key)
            if found is not None:
                self._held.move_to_end(key)
            return found

    def put(self, key: K, value: V) -> None:
        """Hold an entry in the place of the one before."""
        with self._lock:
            old = self._held.pop(key, None)
            self.bytes += self._size(value) - (self._size(old) if old is not None else 0)
            self._held[key] = value
            while len(self._held) > self._most or (self.bytes > self._most_bytes and len(self._held) > 1):
                self.bytes -= self._size(self._held.popitem(last=False)[1])

"""What people say of alerts, followed beside the snapshots: read again every two seconds, written through at once."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import astuple

from braid.acknowledgements import Acknowledgement, Place, said_again
from braid.ports import Acknowledgements

EVERY_S = 2.0


class Notes:
    """The words on the alerts of one dataset; safe to share between threads.

    Parameters
    ----------
    opening : opens the store when it is first wanted; raises StoreUnavailable as long as it cannot
    """

    def __init__(self, opening: Callable[[], Acknowledgements]) -> None:
        self._opening = opening
        self._store: Acknowledgements | None = None
        self._lock = threading.Lock()
        self.held: dict[Place, Acknowledgement] = {}
        self.revision = ""

    def look(self) -> None:
        """Read them all again. Raises StoreUnavailable."""
        with self._lock:
            self._hold({word.place: word for word in self._opened().read()})

    def say(self, new: Acknowledgement) -> Acknowledgement:
        """Hold a word and return what is held now: the old one when it says the same. Raises StoreUnavailable."""
        with self._lock:
            held = self.held.get(new.place)
            word = said_again(held, new)
            if word is not held:
                self._opened().write(word)
                self._hold(self.held | {word.place: word})
            return word

    def _opened(self) -> Acknowledgements:
        if self._store is None:
            self._store = self._opening()
        return self._store

    def _hold(self, words: dict[Place, Acknowledgement]) -> None:
        if words != self.held:
            text = repr(sorted(map(astuple, words.values())))
            self.revision = hashlib.sha256(text.encode()).hexdigest()[:12]
            self.held = words

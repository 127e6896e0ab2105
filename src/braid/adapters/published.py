"""The port `Projections` with a topic beside the tables: views that declare `publish` are sent there, too."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from braid import published
from braid.alerts import Alert
from braid.declaration import AlertRule, Declaration, ViewSpec
from braid.ports import Projections
from braid.views import Key, View


class Sender(Protocol):
    """Sends records and waits until all are acknowledged."""

    def send_all(self, topic: str, records: Iterable[tuple[bytes, bytes | None]]) -> None: ...


class PublishedProjections:
    """Writes the tables first, then sends; returns when both are done.

    Parameters
    ----------
    declaration : in force: its hash is the messages' version
    topics : by view, where its rows go
    """

    def __init__(
        self, tables: Projections, declaration: Declaration, topics: Mapping[str, str], sender: Sender
    ) -> None:
        self._tables = tables
        self._definition = declaration.hash
        self._topics = dict(topics)
        self._sender = sender

    def upsert(self, view: ViewSpec, seq: int, rows: View) -> None:
        """Write the finished rows as of `seq`, and send each."""
        self._tables.upsert(view, seq, rows)
        if topic := self._topics.get(view.name):
            self._sender.send_all(
                topic,
                (
                    (published.key_of(view, place), published.message_of(view, place, state, seq, self._definition))
                    for place, state in sorted(rows.items())
                ),
            )

    def alerts(self, rule: AlertRule, alerts: Sequence[Alert]) -> None:
        """Write alerts to the rule's readable table."""
        self._tables.alerts(rule, alerts)

    def remove(self, view: ViewSpec, seq: int, places: Collection[tuple[int, Key]]) -> None:
        """Take rows away as of `seq`; in the topic by a message without a value."""
        self._tables.remove(view, seq, places)
        if topic := self._topics.get(view.name):
            self._sender.send_all(topic, ((published.key_of(view, place), None) for place in sorted(places)))

    def truncate(self) -> None:
        """Empty the tables; what was sent stays, and what is sent next has another version."""
        self._tables.truncate()

    def settle(self) -> None:
        """Wait for the tables; what is sent is acknowledged before the call returns."""
        self._tables.settle()

"""The archive once more: every good record of the master, in ledger order, as it was sent.

A record keeps its bytes and gets the key that its id gives it, so to the layers it is a copy of an event they have
counted: none of their answers changes. What the dataset's rules set aside stays out; sent again it would only be set
aside again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping

from braid.adapters import archived
from braid.adapters.archived import Archived
from braid.adapters.master import Cut, Master
from braid.declaration import Declaration, Topic
from braid.errors import UsageError
from braid.records import DeadLetter, parse
from producer.made import Made, key_of_parsed
from producer.tables import Refusal


def check(declaration: Declaration, master: Master, names: Mapping[str, tuple[Topic, str]]) -> list[Cut]:
    """Return the cuts there are to send.

    Parameters
    ----------
    names : by declared name: the rules, and the name that is sent to

    Raises
    ------
    UsageError
        Nothing was archived, or what is sent again would be counted again.
    MasterRefused
        The cuts do not continue one another.
    """
    own = {topic.name for topic in declaration.topics}
    if declaration.dedupe == "none" and any(name in own for _, name in names.values()):
        raise UsageError(
            f"--from-archive: {declaration.dataset}: expected a dataset that counts each id once (dedupe: by_id), got dedupe: "
            "none: its answers would count every record twice; send to another topic with --topic NAME"
        )
    cuts = master.cuts()
    if not cuts:
        raise UsageError(
            f"--from-archive: {master.path}: expected archived records, got none; `braid batch {declaration.dataset}` first"
        )
    return cuts


def events(
    master: Master,
    cuts: list[Cut],
    topics: Mapping[str, tuple[Topic, str]],
    begins_us: int | None,
    refused: Callable[[Refusal], None],
) -> Generator[Made, None, None]:
    """Yield the good records of some topics, each due when as much time has passed as between it and the first.

    Parameters
    ----------
    topics : by declared name: the rules, and the name that is sent to
    begins_us : when the first is due; None: nothing is waited for but the rate
    refused : called for each record that the rules set aside

    Raises
    ------
    MasterRefused
        A file is not the one that was archived.
    """
    position, clock = 0, _Original(begins_us)
    for record in _records(master, cuts, list(topics)):
        topic, name = topics[record.topic]
        parsed = parse(topic, record.raw, record.append_us)
        if isinstance(parsed, DeadLetter):
            refused(Refusal(f"{record.topic}-{record.partition}", record.offset, "", parsed.reason))
        elif record.raw is not None:
            key = key_of_parsed(topic, parsed.values)
            yield Made(position, parsed.event_us, clock.due_us(record.append_us), name, key, record.raw)
            position += 1


def _records(master: Master, cuts: list[Cut], topics: list[str]) -> Iterator[Archived]:
    for cut in cuts:
        master.check_files([cut])
        yield from archived.records(master, cut, topics)


class _Original:
    """When each record is due at the pace at which records came: partitions side by side never go back."""

    def __init__(self, begins_us: int | None) -> None:
        self._begins_us = begins_us
        self._first_us: int | None = None
        self._newest_us = 0

    def due_us(self, append_us: int) -> int:
        """Return when a record is due, 0 for at once."""
        if self._begins_us is None:
            return 0
        self._first_us = append_us if self._first_us is None else self._first_us
        self._newest_us = max(self._newest_us, append_us, self._first_us)
        return self._begins_us + self._newest_us - self._first_us

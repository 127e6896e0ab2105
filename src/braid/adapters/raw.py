"""A record's whole bytes by its place: from Kafka while it is still there, from the master afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from braid.adapters import files
from braid.adapters.kafka import KafkaLog, between
from braid.adapters.master import Cut, Master
from braid.dead import Place
from braid.errors import Gap, StoreUnavailable
from braid.settings import Settings


@dataclass(frozen=True, slots=True)
class Whole:
    """One record. `key` is known only where Kafka still holds it, `reason` only where the master does."""

    source: Literal["kafka", "master"]
    append_us: int
    value: bytes | None
    key: bytes | None = None
    reason: str | None = None


def whole(settings: Settings, log: KafkaLog, dataset: str, place: Place, append_us: int | None = None) -> Whole:
    """Return a record.

    Parameters
    ----------
    append_us : when it was appended, where that is known: a topic created again has other records at the same places

    Raises
    ------
    Gap
        Neither Kafka nor the master holds it any more.
    """
    found = _in_kafka(settings, log, place)
    if found is not None and append_us in {None, found.append_us}:
        return found
    master = Master(settings.warehouse_dir, dataset)
    # the newest cut that covers the place first; under a topic created again any other may hold it too
    for cut in sorted(master.cuts(), key=lambda cut: (not _covers(cut, place), -cut.seq)):
        paths = master.files([cut], place.topic)
        for _, at_us, reason, raw in reversed(files.archived(paths, place.partition, place.offset)):
            if append_us in {None, at_us}:
                return Whole("master", at_us, raw, None, reason)
    raise Gap(
        f"{place}: expected the record in Kafka or in the master, got none; retention has deleted it from the topic "
        "and no batch has archived it"
    )


def _covers(cut: Cut, place: Place) -> bool:
    at = (place.topic, place.partition)
    return cut.start.get(at, 0) <= place.offset < cut.end.get(at, 0)


def _in_kafka(settings: Settings, log: KafkaLog, place: Place) -> Whole | None:
    at = (place.topic, place.partition)
    try:
        earliest, latest = log.earliest([place.topic]), log.latest([place.topic])
    except StoreUnavailable:
        if place.topic in log.names():
            raise
        return None  # the topic is gone; the master may hold the record
    if not earliest.get(at, place.offset + 1) <= place.offset < latest.get(at, 0):
        return None
    for _, some in between(settings.kafka_bootstrap, {at: place.offset}, {at: place.offset + 1}):
        for record in some:
            return Whole("kafka", record.append_us, record.value, record.key)
    return None

"""Going on without what is gone: the gap row that `braid accept-gap` commits once a person has seen what it gives up."""

from __future__ import annotations

from braid import gaps
from braid.definitions import in_force
from braid.errors import RangeRefused
from braid.ledger import LedgerRow
from braid.ports import Ledger, Log


def offer(log: Log, store: Ledger, archived: int, writer: str, now_us: int) -> LedgerRow | None:
    """Return the gap row that would let the dataset go on, None when it can go on as it is.

    Nothing is written: `store.append` of the row is the acceptance, and fails with LostRace when another writer has
    moved head since.

    Parameters
    ----------
    archived : seq of the newest cut of the master, 0 when nothing is archived
    writer : unique to this process
    now_us : microseconds UTC

    Raises
    ------
    RangeRefused
        The master is ahead of the ledger.
    StoreUnavailable
        Kafka or Cassandra does not answer, or a topic does not exist: create it first.
    """
    head = store.head()
    if archived > head.seq:
        raise RangeRefused(
            f"ledger: expected its head at or after the newest cut of the master, seq {archived}, got seq {head.seq}; "
            "the ledger is older than the master: restore both from one backup"
        )
    topics = [topic.name for topic in in_force(store, head).topics]
    earliest, topic_ids = log.earliest(topics), log.topic_ids(topics)
    unarchived = store.rows(archived, head.seq)
    if not gaps.find(head, earliest, topic_ids) and not gaps.lost_rows(unarchived, earliest, topic_ids):
        return None
    return gaps.row_of(head, earliest, topic_ids, unarchived, writer, now_us)

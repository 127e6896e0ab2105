"""The archive of published topics: after each batch run, the messages that came since are kept as Parquet.

A topic forgets by its retention; the archive does not. What a view sent may come twice in the topic (after a crash
between commit and sending), and so it does in the archive: as often as the broker has it, no message more, none less. By
`key`, `version` and `seq` a reader keeps the newest of each. The archive is derived: a run that fails here has published
its generation, answers are as they were, and the next run goes on where the newest note ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from braid import published
from braid.adapters.kafka import PARTITIONS
from braid.adapters.publication import Publication, Run
from braid.declaration import Declaration, ViewSpec
from braid.ledger import Range
from braid.ports import Log, Message

Read = Callable[[Range], Iterable[Message]]


def topics(*declarations: Declaration) -> dict[str, ViewSpec]:
    """Return the published topics of some texts of a dataset's declaration, each with the view that is sent there.

    Which topic a view is sent to decides no number: the file may say it differently from the text in force. Of two
    texts the later one is believed, and a topic that only the earlier one names is not forgotten.
    """
    return {view.publish: view for declared in declarations for view in declared.views if view.publish}


def steps(
    root: Path, dataset: str, sent: Mapping[str, ViewSpec], log: Log, read: Read, said: Callable[[str, Run], None]
) -> Iterator[str]:
    """Archive what came to each topic, yielding the name of each step when it is done.

    Parameters
    ----------
    sent : by topic, the view that is sent there
    read : returns the records of exactly a range, with their keys
    said : told of each run that was added

    Raises
    ------
    Gap, MasterRefused, StoreUnavailable
        What was archived stays; the next run goes on.
    """
    for topic, view in sent.items():
        archive = Publication(root, dataset, topic)
        archive.recover()
        log.create(topic, PARTITIONS)
        run = following(archive.runs(), topic, log)
        if run is None:
            continue
        wanted = Range(*({(topic, p): offset for p, offset in held.items()} for held in (run.start, run.end)))
        yield from archive.add(run, published.columns(view), read(wanted))
        said(topic, archive.runs()[-1])
        yield "messages"


def following(runs: list[Run], topic: str, log: Log) -> Run | None:
    """Return the span that follows the newest run, None when nothing came since.

    A topic that was created again is another topic, and begins anew.
    """
    before = runs[-1] if runs else None
    topic_id = log.topic_ids([topic])[topic]
    earliest = {p: offset for (_, p), offset in log.earliest([topic]).items()}
    end = {p: offset for (_, p), offset in log.latest([topic]).items()}
    archived = before.end if before and before.topic_id == topic_id else {}
    start = {p: max(archived.get(p, 0), earliest.get(p, 0)) for p in end}
    missing = {p: (archived.get(p, 0), start[p]) for p in end if start[p] > archived.get(p, 0)}
    if all(start[p] >= end[p] for p in end) and not (missing and before):
        return None
    number, previous = (before.number + 1, before.digest) if before else (1, "")
    return Run(number, topic, topic_id, start, {p: max(end[p], start[p]) for p in end}, missing, 0, previous, {})

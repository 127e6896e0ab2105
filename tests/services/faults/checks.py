"""What must hold after every fault, held against the truth: C1–C5, C7–C10 and I10 of the fault matrix.

C1 every acknowledged event is where the broker said, and counted. C2 none counts twice. C3 each ledger row's offsets =
good + copies + dead + absent, each number the truth's. C4 the rows tile the log. C5 every answer recorded meanwhile =
the recompute as of its row. C7 the served generation = the recompute up to its cut, and the master holds the log's
bytes. C8 nothing is left behind: no process, no temporary file, no unexplained error. C9 answers never go back. C10 an
answer that is not complete says what is missing. I10 the projections are the answer at head.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow.parquet as pq
from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from braid.adapters.kafka import KafkaLog
from braid.ledger import LedgerRow
from tests.services.faults.recorder import Answer, Failure
from tests.services.faults.truth import Truth
from tests.services.pipeline import Record, served

if TYPE_CHECKING:
    from tests.services.faults.campaign import Campaign

Place: TypeAlias = tuple[str, int, int]  # topic id, partition, offset


class Checks:
    """Follows one campaign: each call looks at what is new since the last."""

    def __init__(self, campaign: Campaign) -> None:
        self._campaign = campaign
        self.truth = Truth(campaign.declaration)
        self.records: dict[Place, Record] = {}
        self.row: LedgerRow = campaign.stores.ledger.rows(-1, 0)[0]
        self._positions: dict[tuple[str, int], int] = {}
        self._new: list[Record] = []  # read and not yet checked
        self._answers: list[Answer] = []  # of rows that are not yet reached
        self._newest_seq = -1
        self._checked = 0  # of the load's events
        self._api_log = 0  # characters of it that were looked at
        self._arrived: Counter[bytes] = Counter()
        self.foreign = b'"sat-'  # in events that the producer's own program sends

    def after(self, name: str, allowed: str) -> dict[str, Any]:
        """Check everything since the last call; return the counts and what was wrong."""
        wrong: list[str] = []
        self.read()
        new, self._new = self._new, []
        answers, failures = self._campaign.recorder.taken()
        wrong += self._order(answers) if "back" not in allowed.split() else self._order_anew(answers)
        wrong += self._flags(answers, failures, allowed)
        counts = self._follow(answers, wrong)
        wrong += self._accepted(new)
        wrong += self._final()
        wrong += self._projected()
        wrong += [f"C8: left behind: {one}" for one in self._campaign.orphans()]
        wrong += self._logged()
        return {
            "answers": len(answers), "incomplete": sum(not a.complete for a in answers), "failures": len(failures),
            "ledger rows": counts["rows"], "good": counts["good"], "copies": counts["copies"], "dead": counts["dead"],
            "wrong": [f"{name}: {one}" for one in wrong],
        }  # fmt: skip

    # ---- the log -------------------------------------------------------------------------------------------------

    def read(self) -> None:
        """Read what the log holds beyond what was read before."""
        topic = self._campaign.load.topic
        with KafkaLog(self._campaign.settings.kafka_bootstrap) as log:
            topic_id = log.topic_ids([topic])[topic]
            begins, ends = log.earliest([topic]), log.latest([topic])
        places = {}
        for (_, p), begin in begins.items():
            first = max(self._positions.get((topic_id, p), 0), begin)
            if ends[topic, p] > first:
                places[TopicPartition(topic, p)] = first
        found = _records(self._campaign.settings.kafka_bootstrap, places, {p: ends[topic, p.partition] for p in places})
        self._positions |= {(topic_id, p): end for (_, p), end in ends.items()}
        self.records |= {(topic_id, r.partition, r.offset): r for r in found}
        self._new += found

    def held(self, row: LedgerRow) -> dict[Place, Record]:
        """Return the records of a ledger row's range."""
        return {
            (row.topic_ids[topic], p, offset): self.records[row.topic_ids[topic], p, offset]
            for topic, p, start, end in row.range.partitions()
            for offset in range(start, end)
            if (row.topic_ids[topic], p, offset) in self.records
        }

    # ---- the ledger and the answers ------------------------------------------------------------------------------

    def _follow(self, answers: list[Answer], wrong: list[str]) -> Counter:
        """C2–C5: every ledger row since the last call, with the answers as of it."""
        store, counts = self._campaign.stores.ledger, Counter()
        waiting: dict[int, list[Answer]] = {}
        for answer in [*self._answers, *answers]:
            waiting.setdefault(answer.seq, []).append(answer)
        self._compare(waiting.pop(self.row.seq, []), wrong)
        for row in store.rows(self.row.seq, store.head().seq):
            counts["rows"] += 1
            wrong += self._chain(row)
            if row.kind == "micro":
                records = list(self.held(row).values())
                got = self.truth.count(records)
                absent = row.range.size - len(records)
                if (row.good, row.copies, row.dead, row.absent) != (got.good, got.copies, got.dead, absent):
                    wrong.append(
                        f"C3: seq {row.seq}: ledger {row.good, row.copies, row.dead, row.absent}, truth {got}, {absent}"
                    )
                counts += Counter(good=got.good, copies=got.copies, dead=got.dead)
            self.row = row
            self._compare(waiting.pop(row.seq, []), wrong)
        self._answers = [a for late in waiting.values() for a in late]
        wrong += [f"C5: an answer as of seq {a.seq}, beyond head {self.row.seq}" for a in self._answers[:3]]
        return counts

    def _chain(self, row: LedgerRow) -> list[str]:
        """C4: the row begins where the one before it ended."""
        before = self.row
        if row.seq == before.seq + 1 and (dict(row.range.start) == dict(before.end) or row.kind == "gap"):
            return []
        return [f"C4: seq {row.seq} starts at {dict(row.range.start)}, seq {before.seq} ended at {dict(before.end)}"]

    def _compare(self, answers: list[Answer], wrong: list[str]) -> None:
        made: dict[str, dict] = {}
        for answer in answers:
            expected = made.setdefault(answer.view, self.truth.of(answer.view))
            if answer.states != expected:
                wrong.append(f"C5: {answer.view} as of seq {answer.seq}: {_difference(expected, answer.states)}")

    def _order(self, answers: list[Answer]) -> list[str]:
        """C9: as_of never goes back."""
        wrong = []
        for answer in answers:
            if answer.seq < self._newest_seq:
                wrong.append(f"C9: an answer as of seq {answer.seq} after one as of seq {self._newest_seq}")
            self._newest_seq = max(self._newest_seq, answer.seq)
        return wrong

    def _order_anew(self, answers: list[Answer]) -> list[str]:
        """A row that may make as_of go back: it is followed from its newest answer on."""
        if answers:
            self._newest_seq = answers[-1].seq
        return []

    def _flags(self, answers: list[Answer], failures: list[Failure], allowed: str) -> list[str]:
        """C10: what is missing is said; a request fails only where the row explains it."""
        wrong = [
            f"C10: as of seq {a.seq}: incomplete without a reason" for a in answers if not a.complete and not a.missing
        ]
        for failure in failures:
            kind = "cut" if failure.status == 0 else str(failure.status)
            if kind not in allowed.split():
                wrong.append(f"C10: HTTP {failure.status}: {failure.text}")
        return wrong

    # ---- what was sent -------------------------------------------------------------------------------------------

    def _accepted(self, new: list[Record]) -> list[str]:
        """C1: each acknowledged event is in the log, where the broker said; nothing is there oftener than it was sent."""
        load, wrong = self._campaign.load, []
        end = load.settled
        for one in load.sent[self._checked : end]:
            if one.place is not None:
                held = self.records.get((one.topic_id, *one.place))
                if held is None or (held.raw or b"") != one.raw:
                    wrong.append(f"C1: event {one.number} was acknowledged at {one.place} and is not there")
        self._checked = end
        self._arrived.update(r.raw or b"" for r in new if self.foreign not in (r.raw or b""))
        sent = Counter(one.raw for one in load.sent)
        wrong += [
            f"C1: in the log {n} times, sent {sent[raw]} times: {raw[:80]!r}"
            for raw, n in self._arrived.items()
            if n > sent[raw]
        ]
        return wrong

    def _final(self) -> list[str]:
        """At rest: the answers now, over everything that was acknowledged."""
        campaign, wrong = self._campaign, []
        for spec in campaign.declaration.views:
            answer = campaign.pipeline.view(spec.name, campaign.declaration.dataset)
            found = served(answer, campaign.declaration, spec.name)
            if answer["meta"]["as_of"]["seq"] != self.row.seq:
                wrong.append(
                    f"C5: at rest {spec.name} is as of {answer['meta']['as_of']['seq']}, head is {self.row.seq}"
                )
            elif found != self.truth.of(spec.name):
                wrong.append(f"C5: at rest {spec.name}: {_difference(self.truth.of(spec.name), found)}")
        return wrong

    def _logged(self) -> list[str]:
        """C8: the API never meets an error that it has no name for."""
        log = self._campaign.settings.logs / "api.log"
        text = log.read_text("utf-8", "replace") if log.exists() else ""
        new, self._api_log = text[self._api_log :], len(text)
        return [f"C8: in api.log: {line[:200]}" for line in new.splitlines() if _unnamed(line)][:3]

    def _projected(self) -> list[str]:
        """I10: at rest what people read in Cassandra is the answer at head, and every committed alert is there once."""
        last = ""
        until = time.monotonic() + 20  # the projections follow the commit
        while time.monotonic() < until:
            last = self._stale()
            if not last:
                return []
            time.sleep(0.2)
        return [f"I10: {last}"]

    def _stale(self) -> str:
        campaign = self._campaign
        for spec in campaign.declaration.views:
            fields = campaign.declaration.topics[0].fields
            if any(fields[m.of].optional for m in spec.measures):
                continue  # their n counts the events that have the field; the table's counts all
            _, rows = campaign.store._session.table(
                f"SELECT {', '.join(spec.by)}, window_start, n FROM {campaign.declaration.dataset}.{spec.name}"
            )
            found = {(_micros(at) if spec.window_us else 0, *key): n for *key, at, n in rows}
            expected = {place: next(iter(cell.values()))[0] for place, cell in self.truth.of(spec.name).items()}
            if found != expected:
                return f"{spec.name}: {_difference(expected, found)}"
        (rule,) = campaign.declaration.alerts
        _, rows = campaign.store._session.table(f"SELECT count(*) FROM {campaign.declaration.dataset}.{rule.name}")
        told = campaign.stores.ledger.head().totals["alerts"]
        return "" if rows[0][0] == told else f"{rule.name}: expected {told} alerts as in the ledger, got {rows[0][0]}"

    # ---- generations ---------------------------------------------------------------------------------------------

    def generation(self) -> list[str]:
        """C7: the served generation = the recompute up to its cut, and the master holds what the log held, byte by byte."""
        campaign, wrong = self._campaign, []
        current = campaign.stores.ledger.current()
        truth, wanted = Truth(campaign.declaration), {}
        for row in campaign.stores.ledger.rows(0, current.cut_seq):
            if row.kind == "micro":
                wanted |= self.held(row)
                truth.count(list(self.held(row).values()))
        for spec in campaign.declaration.views:
            answer = campaign.pipeline.view(spec.name, campaign.declaration.dataset, layer="batch")
            if answer["meta"]["as_of"]["generation"] != current.gen:
                wrong.append(
                    f"C7: {spec.name}: generation {answer['meta']['as_of']['generation']} is served, not {current.gen}"
                )
            elif served(answer, campaign.declaration, spec.name) != truth.of(spec.name):
                wrong.append(
                    f"C7: {spec.name}: {_difference(truth.of(spec.name), served(answer, campaign.declaration, spec.name))}"
                )
        held = self._master()
        if held != Counter((p, offset, record.raw) for (_, p, offset), record in wanted.items()):
            wrong.append(
                f"C7: the master holds {sum(held.values())} records, the log {len(wanted)} up to the cut, or other bytes"
            )
        left = [
            p
            for folder in ("master", "views")
            for p in (campaign.settings.warehouse_dir / folder / campaign.declaration.dataset).glob(".*")
        ]
        return wrong + [f"C8: left behind: {p}" for p in left]

    def _master(self) -> Counter:
        folder = self._campaign.settings.warehouse_dir / "master" / self._campaign.declaration.dataset
        held: Counter = Counter()
        for path in sorted(folder.glob("cut=*/**/*.parquet")):
            table = pq.read_table(path, columns=["partition", "offset", "raw"])
            held.update(zip(*(table.column(name).to_pylist() for name in ("partition", "offset", "raw")), strict=True))
        return held


def _unnamed(line: str) -> bool:
    """Return whether a line of the API's log tells of an error that nobody expected."""
    try:
        told = json.loads(line)
        return told["level"] in {"error", "critical"} and "exception" in told
    except (ValueError, TypeError, KeyError):
        return "Traceback" in line or "internal error" in line


def _records(bootstrap: str, begins: dict[TopicPartition, int], ends: dict[TopicPartition, int]) -> list[Record]:
    """Return the committed records of some partitions from one offset to another."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed", enable_auto_commit=False)
    consumer.assign(list(begins))
    for place, begin in begins.items():
        consumer.seek(place, begin)
    found: list[Record] = []
    while any(consumer.position(place) < end for place, end in ends.items()):
        for place, batch in consumer.poll(500).items():
            below = (r for r in batch if r.offset < ends[place])
            found += [Record(r.topic, r.partition, r.offset, r.timestamp * 1000, r.value) for r in below]
    consumer.close()
    return found


def _micros(at: datetime) -> int:
    """Return a naive time of Cassandra's driver, which means UTC, as microseconds."""
    return round((at.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 10**6)


def _difference(expected: dict, got: dict) -> str:
    """Return the first place where two views differ, with both values."""
    for place in sorted({*expected, *got}, key=str):
        if expected.get(place) != got.get(place):
            return f"at {place}: expected {expected.get(place)}, got {got.get(place)}"
    return "nothing differs"

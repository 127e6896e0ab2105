#!/usr/bin/env python3
"""Send land-cover events to Kafka: `python src/producer/kafka_producer.py --limit 500`, from any directory.

Reads the CSV files of data/landcover, joins them by their ids, and sends each row as JSON to the declared topic, keyed
by its event id. `braid produce landcover` is the same program; another dataset of the checkout is named as the first
word. `--help` says what the event times are and why a run can be repeated.
"""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

if __package__ in {None, ""}:  # run as a file: its folder stands first on the path, src/ is wanted there
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from braid.adapters import environment, failpoints
from braid.adapters.kafka import PARTITIONS, KafkaLog
from braid.adapters.kafka_producer import EventProducer
from braid.errors import BraidError, StoreUnavailable
from braid.instants import iso
from producer.feeds import Feed, Rows, live
from producer.interrupt import Interrupt, interrupts
from producer.journal import Journal
from producer.options import Options, parse
from producer.pacing import Pace, SystemWatch
from producer.plan import names_of, plan
from producer.publish import Outbox, Progress, Run
from producer.report import Report, summary_text, write
from producer.tables import Refusal

DATASET = "landcover"
DRAIN_US = 130_000_000  # a little more than the delivery time-out
INTERRUPTED_DRAIN_US = 10_000_000


def main(argv: list[str] | None = None) -> int:
    """Run the producer.

    Parameters
    ----------
    argv : the words after the command; None for those of this process

    Returns
    -------
    int : exit status, see --help
    """
    options = parse(argv, DATASET)
    report, status = Report(sys.stderr, options.quiet), 0
    try:
        settings = environment.load()
        bootstrap = options.bootstrap or settings.kafka_bootstrap
        failpoints.check(settings.failpoints, bootstrap.split(","))
        failpoints.arm(settings)
        if options.synthetic or options.from_archive:
            return Job(options, live(options, settings, SystemWatch().now_us()), bootstrap, report).run()
        for topic in names_of(options, settings):
            asked = replace(options, topic=topic)
            with Journal(settings.home / "producer", options.dataset, topic) as journal:
                settled = plan(asked, settings, journal, SystemWatch().now_us())
                status = Job(asked, Rows(settled, journal), bootstrap, report).run()
            if status:
                break
    except BraidError as error:
        report.end()
        report.say(f"braid produce: {error}")
        return error.exit_code
    return status


class Job:
    """One run, from what it is to send to the summary."""

    def __init__(self, options: Options, feed: Feed, bootstrap: str, report: Report) -> None:
        self.options = options
        self.feed = feed
        self.bootstrap = bootstrap
        self.report = report
        self.progress = Progress(position=feed.first)

    def run(self) -> int:
        """Send, say so, and return the exit status.

        Raises
        ------
        StoreUnavailable
            Kafka is not reachable, or an event was not acknowledged; after the summary, where something was sent.
        """
        for line in self.feed.ignored:
            self.report.refuse(line)
        with KafkaLog(self.bootstrap) as log:
            for topic in self.feed.topics:
                log.create(topic, PARTITIONS)
        failure = None
        with interrupts() as interrupt:
            try:
                self._send(interrupt)
            except StoreUnavailable as error:
                failure = error
        self.report.end()
        ended = "failed" if failure else "interrupted" if interrupt.heard() else "done"
        write(sys.stdout, summary_text(self._summary(ended), self.options.as_json))
        if failure is not None:
            raise failure
        return interrupt.status or (0 if self.progress.sent == self.progress.acknowledged else 1)

    def _send(self, interrupt: Interrupt) -> None:
        """Send until the events end or the run is told to; how far it came is noted whatever happens."""
        watch = SystemWatch()
        sender = EventProducer(self.bootstrap)
        # before the first event: --resume after a death at any moment goes on with this run, not with the one before
        self.feed.note(self.progress.position)
        outbox = Outbox(sender, self.feed.topics[0], self.progress, self.feed.remedy)
        run = Run(
            outbox,
            pace=Pace(self._interval_ns(), self.options.duration_us, watch),
            watch=watch,
            progress=self.progress,
            stopping=interrupt.heard,
            tick=lambda: self._tick(len(outbox)),
        )
        try:
            with closing(self.feed.events(self._refused)) as events:
                run.publish(events)
            run.drain(INTERRUPTED_DRAIN_US if interrupt.heard() else DRAIN_US)
        finally:
            sender.close(0)
            run.note()

    def _interval_ns(self) -> int:
        """Return the time between two events; the archive without a rate has its own pace."""
        return 0 if self.options.from_archive and not self.options.paced else self.options.interval_ns

    def _refused(self, refusal: Refusal) -> None:
        reasons = self.progress.refused
        reasons[refusal.reason] = reasons.get(refusal.reason, 0) + 1
        if self.feed.tells:
            self.report.refuse(refusal)

    def _tick(self, unacknowledged: int) -> None:
        self.feed.note(self.progress.position)
        self.report.progress(self.progress, unacknowledged)

    def _summary(self, ended: str) -> dict[str, object]:
        progress = self.progress
        return {
            "dataset": self.feed.dataset,
            "topic": ", ".join(self.feed.topics),
            "bootstrap": self.bootstrap,
            "ended": self.feed.ended(ended),
            "sent": progress.sent,
            "acknowledged": progress.acknowledged,
            "refused": sum(progress.refused.values()),
            "reasons": progress.refused,
            "bytes": progress.bytes,
            "seconds": round(progress.seconds, 3),
            "rate_per_s": round(progress.rate, 1),
            "position": progress.position,
            "first_time": None if progress.first_us is None else iso(progress.first_us),
            "last_time": None if progress.last_us is None else iso(progress.last_us),
        } | self.feed.facts()


if __name__ == "__main__":
    sys.exit(main())

"""The producer's flags: words to numbers, and what they mean together."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from braid.errors import UsageError
from braid.instants import instant_us, iso
from producer.sources import Timeline

DEFAULT_LIMIT = 500
DEFAULT_DELAY = "0.005"
DEFAULT_START_US = instant_us("2026-01-01T00:00:00Z")  # fixed, so that the same arguments make the same ids on any day
DEFAULT_EVERY_US = 10_000_000
_AS_GIVEN = ("loop", "resume", "topic", "bootstrap", "data", "as_json", "quiet", "synthetic", "from_archive", "seed")
_UNITS_US = {"us": 1, "ms": 1_000, "s": 10**6, "": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h|d|)")

TIMES = """\
Event times. Row number p (from 0, counted on through the passes of --loop) has the time START + p · EVERY. So the same
arguments make the same ids on any day, and sending them again adds nothing to any answer. No event is sent before its
own time: rows whose time lies ahead wait for it, and a START in the future is refused.
  START is a time (2026-01-01T00:00:00Z, the default), `now`, or `now-6h`; the last two are fixed when the run begins,
  kept in the journal, and taken from there by --resume.
  Rows whose files hold a time keep that; --start and --every say nothing of them.
  EVERY is 10s by default; after --start now it is the delay, so that events carry the time at which they are sent.

Other events than the rows of files. Neither kind keeps a journal; both send to every topic of the dataset, or to --topic.
  --synthetic makes events for ever (or for --duration, or --limit of them): by the declaration's generator, where it
  names one, else from the declaration and its sample rows, which are taken whole at random, with ids and times of their
  own. Nothing they say was ever measured. --start is now by default; the same --seed, --start, --every and rate make
  the same events. Without --seed the start is the seed; the summary says it.
  --from-archive sends what the batch layer has archived once more, in ledger order, dead letters left out: as fast as
  the records came, or at --rate. Each is a copy by its id, and changes no answer.

Exit status: 0 done, also when rows were refused (each is named on stderr and counted in the summary); 1 Kafka is not
reachable, or an event was not acknowledged; 2 wrong usage or unusable data; 130 interrupted, after what was sent has
been acknowledged and the journal written."""


def duration_us(text: str) -> int:
    """Return a duration in microseconds: a number of seconds, or with a unit of us, ms, s, m, h, d.

    Raises
    ------
    ValueError
        The text is no duration.

    Examples
    --------
    >>> duration_us("0.005"), duration_us("10s"), duration_us("1.5m"), duration_us("250us")
    (5000, 10000000, 90000000, 250)
    """
    found = _DURATION.fullmatch(text)
    if not found:
        raise ValueError(text)
    return int(Decimal(found[1]) * _UNITS_US[found[2]])


def duration_text(us: int) -> str:
    """Return a duration in its largest whole unit, as the flags read it.

    Examples
    --------
    >>> duration_text(10_000_000), duration_text(5_000), duration_text(90_000_000)
    ('10s', '5ms', '90s')
    """
    unit = next(u for u in ("d", "h", "m", "s", "ms", "us") if us % _UNITS_US[u] == 0)
    return f"{us // _UNITS_US[unit]}{unit}"


def start_us(text: str, now_us: int) -> int:
    """Return the time that --start names, in microseconds.

    Raises
    ------
    UsageError
        No such time, before 1970, or later than now.

    Examples
    --------
    >>> start_us("now-1h", 10 * 3600 * 10**6) // (3600 * 10**6)
    9
    """
    try:
        if text == "now" or text.startswith("now-"):
            us = now_us - (duration_us(text[4:]) if text != "now" else 0)
        else:
            us = instant_us(text)
    except ValueError as error:
        raise UsageError(f"--start: expected {iso(DEFAULT_START_US)}, now or now-6h, got {text!r}") from error
    if us < 0:
        raise UsageError(f"--start: expected a time from 1970 on, got {text!r}")
    if us > now_us:
        raise UsageError(
            f"--start: expected a time not later than now ({iso(now_us)}), got {iso(us)}; "
            "choose an earlier one, or set this machine's clock right"
        )
    return us


@dataclass(frozen=True, slots=True)
class Options:
    """What the flags ask for; None where the answer depends on the data or the journal.

    `paced` says whether a rate or delay was given.
    """

    dataset: str
    limit: int | None
    interval_ns: int
    duration_us: int | None
    loop: bool
    resume: bool
    start: str | None
    every_us: int | None
    topic: str | None
    bootstrap: str | None
    data: Path | None
    as_json: bool
    quiet: bool
    synthetic: bool = False
    from_archive: bool = False
    seed: int | None = None
    paced: bool = True

    def end(self, rows: int) -> int | None:
        """Return the position before which the run ends, None for never: --limit counts from the first row of all."""
        whole = None if self.loop else rows
        return whole if self.limit is None else min(self.limit, whole or self.limit)

    def timeline(self, now_us: int) -> Timeline:
        """Return the event times that the flags alone ask for (a resumed run takes the journal's)."""
        start = DEFAULT_START_US if self.start is None else start_us(self.start, now_us)
        if start > now_us:
            start_us(iso(start), now_us)
        every = self.every_us
        if every is None:
            every = self.interval_ns // 1000 if self.start == "now" or self.synthetic else DEFAULT_EVERY_US
            if self.synthetic:
                every = max(every, 1)  # as fast as possible: no two events have one time
        if every < 1:
            raise UsageError("--every: expected at least 1us, got 0; with --start now give --every, --delay or --rate")
        return Timeline(start, every)


def parse(argv: list[str] | None, dataset: str) -> Options:
    """Read the flags; ends the process with status 2 on wrong usage, 0 on --help.

    Parameters
    ----------
    argv : the words after the command; None for those of this process
    dataset : the dataset when none is named
    """
    parser = argparse.ArgumentParser(
        prog="kafka_producer.py" if argv is None else "braid produce",
        description="Send a dataset's rows to its Kafka topics, as events; or synthetic ones, or those of the archive.",
        epilog=TIMES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", nargs="?", default=dataset, help="a declaration under datasets/ (%(default)s)")
    parser.add_argument(
        "--limit",
        type=_limit,
        metavar="N",
        help=f"rows in all, or `all` for one pass ({DEFAULT_LIMIT}; "
        "without limit with --loop, --duration, --synthetic or --from-archive); a resumed run counts those already sent",
    )
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument(
        "--delay",
        type=_duration,
        metavar="T",
        help=f"time between two events ({DEFAULT_DELAY} s; 0: as fast as possible), kept as a schedule",
    )
    pace.add_argument("--rate", type=_rate, metavar="N", help="events per second, in place of --delay")
    parser.add_argument("--loop", action="store_true", help="begin again after the last row, with later times")
    parser.add_argument("--duration", type=_duration, metavar="T", help="end after this time")
    parser.add_argument("--resume", action="store_true", help="go on where the journal says, with its event times")
    parser.add_argument("--start", metavar="TIME", help="event time of the first row")
    parser.add_argument("--every", type=_duration, metavar="T", help="event time between two rows")
    parser.add_argument("--topic", help="one of the declared topics instead of all; or another to send to")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--synthetic", action="store_true", help="made-up events that obey the declaration, without end")
    other.add_argument("--from-archive", action="store_true", help="what the batch layer archived, once more")
    parser.add_argument("--seed", type=_whole, metavar="N", help="of --synthetic: the same seed makes the same values")
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="the broker (that of `braid up`)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the CSV files, or a file (data/DATASET)")
    parser.add_argument("--json", action="store_true", dest="as_json", help="the summary as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress lines")
    given = parser.parse_args(argv)
    _check(parser, given)
    endless = given.loop or given.duration is not None or given.synthetic or given.from_archive
    unlimited = given.limit == "all" or (given.limit is None and endless)
    delay_us = duration_us(DEFAULT_DELAY) if given.delay is None else given.delay
    interval = delay_us * 1000 if given.rate is None else given.rate
    return Options(
        dataset=given.dataset,
        limit=None if unlimited else given.limit or DEFAULT_LIMIT,
        interval_ns=interval,
        duration_us=given.duration,
        every_us=given.every,
        start="now" if given.synthetic and given.start is None else given.start,
        paced=given.delay is not None or given.rate is not None,
        **{name: getattr(given, name) for name in _AS_GIVEN},
    )


def _check(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """End the process where two flags speak of different things."""
    kind = "--synthetic" if given.synthetic else "--from-archive" if given.from_archive else ""
    if given.seed is not None and not given.synthetic:
        parser.error("--seed: expected --synthetic beside it: rows of files are as they are")
    never = ["loop", "resume"] if kind else []
    never += ["start", "every", "data"] if given.from_archive else []
    for flag in never:
        if getattr(given, flag):
            parser.error(f"--{flag}: not with {kind}, whose events are no rows of files; leave one of the two out")


def _whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, got {text!r}")
    return int(text)


def _limit(text: str) -> int | str:
    if text == "all":
        return text
    if not re.fullmatch(r"[1-9][0-9]{0,17}", text):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, or all, got {text!r}")
    return int(text)


def _duration(text: str) -> int:
    try:
        return duration_us(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected seconds such as 0.005, or 10s, 5m, 1h, got {text!r}") from error


def _rate(text: str) -> int:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) or not Fraction(text):
        raise argparse.ArgumentTypeError(f"expected events per second, more than 0, got {text!r}")
    return int(1_000_000_000 / Fraction(text))

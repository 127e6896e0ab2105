"""What a run will send, settled before the broker is asked for anything: declaration, data, event times, where to begin."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from braid import declaration_reader
from braid.declaration import Declaration, Topic
from braid.errors import UnknownDataset, UsageError
from braid.instants import iso
from braid.settings import Settings
from producer.journal import Entry, Journal
from producer.options import Options, duration_text
from producer.sources import Outgoing, Timeline, events, ids_repeat, made_field
from producer.tables import Joined, Refusal, read_folder


@dataclass(frozen=True, slots=True)
class Plan:
    """Positions first <= p < end (None: for ever) of a dataset's rows, on a timeline, for a topic.

    Attributes
    ----------
    rules : the declared topic whose rules hold, also when `topic` is another name
    digest : sha256 over the rows
    """

    dataset: str
    rules: Topic
    topic: str
    data: Joined
    digest: str
    timeline: Timeline
    first: int
    end: int | None

    def events(self, refused: Callable[[Refusal], None]) -> Iterator[Outgoing]:
        """Yield what is to be sent; `refused` hears of each row that the rules do not let through."""
        return events(self.rules, self.data, self.timeline, first=self.first, end=self.end, refused=refused)

    def entry(self, position: int) -> Entry:
        """Return the journal's entry at a position."""
        return Entry(self.dataset, self.topic, self.digest, *self.timeline, position)

    @property
    def nothing_left(self) -> bool:
        """Whether the journal already covers all that the flags ask for."""
        return self.end is not None and self.first >= self.end


def topic_of(options: Options, settings: Settings) -> tuple[Topic, str]:
    """Return the declared topic whose rules hold, and the name to send to.

    Raises
    ------
    UnknownDataset, DeclarationError
    """
    return topics_of(options, declared(settings.root / "datasets", options.dataset))[0]


def topics_of(options: Options, declaration: Declaration) -> list[tuple[Topic, str]]:
    """Return the declared topics that a run is about, each with the name that it sends to.

    All of them, or the one that --topic names; to another name the events of the first go.
    """
    topics = declaration.topics
    if options.topic is None:
        return [(topic, topic.name) for topic in topics]
    return [(next((t for t in topics if t.name == options.topic), topics[0]), options.topic)]


def folder_of(whole: Path, topic: Topic) -> Path:
    """Return where the data of a topic lie: in the dataset's folder, or there in a folder of the topic's name."""
    return own if (own := whole / topic.name).is_dir() else whole


def names_of(options: Options, settings: Settings) -> list[str]:
    """Return the topics that a run sends to, one after the other: the one named, else each that is declared."""
    topics = declared(settings.root / "datasets", options.dataset).topics
    return [options.topic] if options.topic else [topic.name for topic in topics]


def plan(options: Options, settings: Settings, journal: Journal, now_us: int) -> Plan:
    """Settle a run.

    Raises
    ------
    UsageError
        Flags, data and journal do not go together; the text says which and how to mend it.
    """
    rules, topic = topic_of(options, settings)
    data = read_folder(options.data or folder_of(settings.root / "data" / options.dataset, rules))
    made = made_field(rules, data)
    if options.loop and ids_repeat(rules, made):
        raise UsageError("--loop: expected ids that change with every pass, got rows whose files hold the whole id")
    if options.resume and not journal.held:
        raise UsageError(f"--resume: {journal.path} is kept by another run; wait until it ends")
    digest = data.digest
    found = journal.read() if options.resume else None
    # rows whose files hold their time keep it; none of them has to be waited for
    fresh = options.timeline(now_us) if made or not rules.event_time.field else Timeline(now_us, 0)
    timeline, first = resumed(found, options, digest, journal.path) if found else (fresh, 0)
    return Plan(options.dataset, rules, topic, data, digest, timeline, first, options.end(len(data.rows)))


def declared(folder: Path, dataset: str) -> Declaration:
    """Return the declaration of a dataset.

    Raises
    ------
    UnknownDataset
        There is none of that name; the text lists those there are.
    """
    path = folder / f"{dataset}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
        raise UnknownDataset(f"{folder}: expected one of the datasets {names}, got {dataset!r}")
    return declaration_reader.load(path)


def resumed(found: Entry, options: Options, digest: str, path: Path) -> tuple[Timeline, int]:
    """Return event times and position of a journal; what the flags say besides must agree with it.

    Raises
    ------
    UsageError
        --start, --every or the data differ from those of the journal: the ids would be others.
    """
    timeline = Timeline(found.start_us, found.every_us)
    if found.data != digest:
        raise UsageError(f"--resume: {path} was written for other data; name that with --data, or leave --resume out")
    if options.start is not None and not options.start.startswith("now"):
        asked = options.timeline(sys.maxsize).start_us
        if asked != timeline.start_us:
            raise UsageError(
                f"--resume: expected --start {iso(timeline.start_us)} as in {path}, got {options.start}; leave it out"
            )
    if options.every_us is not None and options.every_us != timeline.every_us:
        raise UsageError(
            f"--resume: expected --every {duration_text(timeline.every_us)} as in {path}, "
            f"got {duration_text(options.every_us)}; leave it out"
        )
    return timeline, found.position

"""What a run sends, as the run sees it: rows of files with their journal, or events that are made or read as they go."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol, TypeAlias

from braid.adapters import failpoints
from braid.adapters.master import Master
from braid.declaration import Declaration, Topic
from braid.instants import iso
from braid.settings import Settings
from producer import archived, generator, synthetic
from producer.journal import Journal
from producer.options import Options, duration_text
from producer.plan import Plan, declared, folder_of, topics_of
from producer.publish import Sendable
from producer.tables import Joined, Refusal, read_folder

Refused: TypeAlias = Callable[[Refusal], None]
Sending: TypeAlias = Generator[Sendable, None, None]  # closed when the run ends


class Feed(Protocol):
    """Events of one run, and what it says of them.

    Attributes
    ----------
    dataset, topics : whose they are, and where they go
    first : position of the first one
    ignored : lines of files that belong to no row
    tells : whether each refusal is said, beside being counted
    remedy : what to do when an event is not acknowledged
    """

    @property
    def dataset(self) -> str: ...
    @property
    def topics(self) -> tuple[str, ...]: ...
    @property
    def first(self) -> int: ...
    @property
    def ignored(self) -> Sequence[Refusal]: ...
    @property
    def tells(self) -> bool: ...
    @property
    def remedy(self) -> str: ...

    def events(self, refused: Refused) -> Sending:
        """Yield the events; `refused` hears of what the rules do not let through."""
        ...

    def note(self, position: int) -> None:
        """Keep how far the broker has acknowledged."""
        ...

    def ended(self, how: str) -> str:
        """Return how the run ended, for its summary."""
        ...

    def facts(self) -> dict[str, object]:
        """Return what the summary holds of these events beside the counts."""
        ...


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of files, and the journal of how far they are sent."""

    plan: Plan
    journal: Journal
    tells: bool = True
    remedy: str = "go on with --resume"

    @property
    def dataset(self) -> str:
        """Whose rows they are."""
        return self.plan.dataset

    @property
    def topics(self) -> tuple[str, ...]:
        """Where they go."""
        return (self.plan.topic,)

    @property
    def first(self) -> int:
        """Position of the first one."""
        return self.plan.first

    @property
    def ignored(self) -> Sequence[Refusal]:
        """Lines of other files that belong to no row."""
        return self.plan.data.ignored

    def events(self, refused: Refused) -> Sending:
        """Yield the events, with a failpoint where half of the rows are handed over."""
        rows, half = len(self.plan.data.rows), (self.plan.end or len(self.plan.data.rows)) // 2
        for event in self.plan.events(refused):
            if event.position % rows == half:
                failpoints.hit("producer.mid_file")
            yield event

    def note(self, position: int) -> None:
        """Write the journal."""
        self.journal.write(self.plan.entry(position))

    def ended(self, how: str) -> str:
        """Return how the run ended; done with nothing to do is told apart."""
        return "nothing left" if how == "done" and self.plan.nothing_left else how

    def facts(self) -> dict[str, object]:
        """Return rows, times and journal."""
        timeline = self.plan.timeline
        return {
            "ignored": len(self.plan.data.ignored),
            "rows": len(self.plan.data.rows),
            "start": iso(timeline.start_us),
            "every": duration_text(timeline.every_us),
            "every_us": timeline.every_us,
            "journal": str(self.journal.path) if self.journal.held else None,
            # rows whose files hold their time have no place on the timeline
            **({"first_time": None, "last_time": None} if not timeline.every_us else {}),
        }


@dataclass(frozen=True, slots=True)
class Live:
    """Events that are made or read as they are sent; no journal is kept of them."""

    dataset: str
    topics: tuple[str, ...]
    make: Callable[[Refused], Sending]
    end: int | None
    tells: bool
    remedy: str
    words: Mapping[str, object]
    first: int = 0
    ignored: Sequence[Refusal] = field(default=())

    def events(self, refused: Refused) -> Sending:
        """Yield the events."""
        with closing(self.make(refused)) as made:
            yield from islice(made, self.end)

    def note(self, position: int) -> None:
        """Keep nothing: the same words make or read the same events again."""

    def ended(self, how: str) -> str:
        """Return how the run ended."""
        return how

    def facts(self) -> dict[str, object]:
        """Return what kind they are, and what makes them again."""
        return dict(self.words)


def live(options: Options, settings: Settings, now_us: int) -> Live:
    """Return the synthetic events that the flags ask for, or those of the archive.

    Raises
    ------
    BraidError
        There are none to be had; the text says why and what to do.
    """
    declaration = declared(settings.root / "datasets", options.dataset)
    topics = {rules.name: (rules, name) for rules, name in topics_of(options, declaration)}
    return (_synthetic if options.synthetic else _archived)(options, settings, declaration, topics, now_us)


def _synthetic(
    options: Options, settings: Settings, declaration: Declaration, topics: Mapping[str, tuple[Topic, str]], now_us: int
) -> Live:
    timeline = options.timeline(now_us)
    seed = timeline.start_us if options.seed is None else options.seed
    if declaration.generator and options.data is None:
        script = settings.root / declaration.generator
        made_by = declaration.generator

        def make(refused: Refused) -> Sending:
            return generator.events(script, topics, timeline, seed, refused)
    else:
        samples = _samples(options, settings, [rules for rules, _ in topics.values()])
        made_by = "resampling its sample rows" if samples else "its declaration alone"

        def make(refused: Refused) -> Sending:
            del refused  # what obeys the rules is never refused
            return synthetic.events(declaration, list(topics.values()), samples, timeline, seed)

    words = {
        "kind": "synthetic", "made_by": made_by, "seed": seed, "start": iso(timeline.start_us),
        "every": duration_text(timeline.every_us), "every_us": timeline.every_us, "ignored": 0,
    }  # fmt: skip
    names = tuple(name for _, name in topics.values())
    return Live(options.dataset, names, make, options.limit, True, "run it again: new events have new ids", words)


def _samples(options: Options, settings: Settings, topics: Sequence[Topic]) -> dict[str, Joined]:
    """Return the sample rows of each topic that has some; those named with --data must be there."""
    whole = options.data or settings.root / "data" / options.dataset
    if options.data is None and not whole.is_dir():
        return {}
    return {topic.name: read_folder(folder_of(whole, topic)) for topic in topics}


def _archived(
    options: Options, settings: Settings, declaration: Declaration, topics: Mapping[str, tuple[Topic, str]], now_us: int
) -> Live:
    master = Master(settings.warehouse_dir, options.dataset)
    cuts = archived.check(declaration, master, topics)
    begins_us = None if options.paced else now_us

    def make(refused: Refused) -> Sending:
        return archived.events(master, cuts, topics, begins_us, refused)

    words: dict[str, object] = {"kind": "archive", "through_seq": cuts[-1].seq, "ignored": 0}
    names = tuple(name for _, name in topics.values())
    return Live(options.dataset, names, make, options.limit, False, "run it again: copies count once", words)

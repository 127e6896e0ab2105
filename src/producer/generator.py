"""Synthetic events of a dataset that has a script for them: threads, edits and the like no general rule can make up.

A declaration may name a script below data/ as its `generator`. It is run only for `--synthetic`, as a child, by our own
interpreter:

    SCRIPT --live --seed N --start 2026-01-01T00:00:00Z --every-us 10000

and writes one line for each event, for ever: the topic, a tab, the record as JSON. Event p is of the time START + p ·
EVERY, and nothing else decides what a line says, so the same arguments write the same lines. The script may run ahead:
the pipe holds it back, and the producer sends no event before its time. Each line is read by the dataset's own rules
before it is sent; one that breaks them is refused by its number.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import IO

from braid.declaration import Topic
from braid.errors import UsageError
from braid.instants import iso
from braid.records import DeadLetter, parse
from producer.made import Made, key_of_parsed
from producer.sources import Timeline
from producer.tables import Refusal

_PATIENCE_S = 5.0


def events(
    script: Path,
    topics: Mapping[str, tuple[Topic, str]],
    timeline: Timeline,
    seed: int,
    refused: Callable[[Refusal], None],
) -> Generator[Made, None, None]:
    """Yield what the script writes for some topics; what it writes for others is passed over.

    Parameters
    ----------
    topics : by declared name: the rules, and the name that is sent to
    refused : called for each line that the rules do not let through

    Raises
    ------
    UsageError
        The script cannot be run, or ended with an error: its last words are in the text.
    """
    words = [sys.executable, str(script), "--live", "--seed", str(seed), "--start", iso(timeline.start_us)]
    if not script.is_file():
        raise UsageError(f"{script}: expected the script that the declaration names as its generator, got no file")
    with tempfile.TemporaryFile() as said:
        # a session of its own: Ctrl-C is for the producer, which ends the child when it has settled what was sent
        child = subprocess.Popen(
            [*words, "--every-us", str(timeline.every_us)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, start_new_session=True,
        )  # fmt: skip
        try:
            assert child.stdout is not None  # noqa: S101 - narrows for the type checker
            yield from read(script.name, child.stdout, topics, timeline, refused)
            if child.wait(_PATIENCE_S):
                said.seek(0)
                last = said.read().decode("utf-8", "backslashreplace").strip().splitlines()[-1:]
                raise UsageError(
                    f"{script}: expected records without end, got exit status {child.returncode}: {''.join(last)}"
                )
        finally:
            _end(child)


def read(
    name: str,
    lines: IO[bytes] | Iterator[bytes],
    topics: Mapping[str, tuple[Topic, str]],
    timeline: Timeline,
    refused: Callable[[Refusal], None],
) -> Iterator[Made]:
    """Yield the events of a script's lines; `name` is the script's, for refusals."""
    for position, line in enumerate(lines):
        declared, tab, raw = line.rstrip(b"\n").partition(b"\t")
        if not tab:
            refused(Refusal(name, position + 1, "", "expected a topic, a tab and a record"))
            continue
        found = topics.get(declared.decode("utf-8", "backslashreplace"))
        if found is None:
            continue
        topic, sent_to = found
        at_us = timeline.at(position)
        parsed = parse(topic, raw, append_us=at_us)
        if isinstance(parsed, DeadLetter):
            refused(Refusal(name, position + 1, "", parsed.reason))
        else:
            yield Made(position, parsed.event_us, at_us, sent_to, key_of_parsed(topic, parsed.values), raw)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.stdout is not None:
        child.stdout.close()
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

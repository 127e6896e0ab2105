"""Records what the API answers while things break: every answer is kept, and every failure to answer."""

from __future__ import annotations

import json
import random
import threading
import time
import urllib.error
from dataclasses import dataclass

from tests.services.pipeline import Pipeline, served


@dataclass(frozen=True)
class Answer:
    """One answer of one view."""

    at_s: float
    view: str
    seq: int
    generation: int
    complete: bool
    missing: tuple[str, ...]
    states: dict


@dataclass(frozen=True)
class Failure:
    """A request without an answer: the HTTP status, 0 when the connection was refused or cut."""

    at_s: float
    status: int
    text: str


class Sample:
    """Some of many, each as likely as any other, however many come: a reservoir."""

    def __init__(self, size: int, chance: random.Random) -> None:
        self.held: list[str] = []
        self._size = size
        self._chance = chance
        self._seen = 0

    def add(self, one: str) -> None:
        """Take one, perhaps in place of another."""
        self._seen += 1
        if len(self.held) < self._size:
            self.held.append(one)
        elif (place := self._chance.randrange(self._seen)) < self._size:
            self.held[place] = one


class Recorder:
    """Asks every view in turn, in a thread of its own.

    Parameters
    ----------
    receipts : takes the receipt of each answer
    every_s : pause between two requests
    """

    def __init__(self, pipeline: Pipeline, dataset: str, receipts: Sample, every_s: float = 0.25) -> None:
        self.receipts = receipts
        self.answers: list[Answer] = []
        self.failures: list[Failure] = []
        self.every_s = every_s
        self._pipeline = pipeline
        self._dataset = dataset
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def taken(self) -> tuple[list[Answer], list[Failure]]:
        """Return what was recorded since the last call."""
        answers, self.answers = self.answers, []
        failures, self.failures = self.failures, []
        return answers, failures

    def close(self) -> None:
        """Ask no more."""
        self._ended.set()
        self._thread.join(30)

    def _run(self) -> None:
        declaration = self._pipeline.declared[self._dataset]
        views = [view.name for view in declaration.views]
        turn = 0
        while not self._ended.wait(self.every_s):
            view = views[turn % len(views)]
            turn += 1
            try:
                answer = self._pipeline.view(view, self._dataset)
            except urllib.error.HTTPError as error:
                self.failures.append(Failure(time.monotonic(), error.code, error.read(300).decode("utf-8", "replace")))
                continue
            except (OSError, json.JSONDecodeError) as error:
                self.failures.append(Failure(time.monotonic(), 0, repr(error)))
                continue
            meta = answer["meta"]
            missing = tuple(f"{m['what']}: {m['reason']}" for m in meta["missing"])
            at = meta["as_of"]
            self.receipts.add(meta["receipt"])
            self.answers.append(
                Answer(
                    time.monotonic(),
                    view,
                    at["seq"],
                    at["generation"],
                    meta["complete"],
                    missing,
                    served(answer, declaration, view),
                )
            )

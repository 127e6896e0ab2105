"""Restart and catch-up: the stream stands still for a minute while 1,000 events a second come in; the relay under the same blow."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

from bench import events
from bench.lab import Client, Lab, eventually, say, status
from bench.results import Result, Row, Size, Target
from bench.slices import SEED, Braid, Numbers, Route, measured, relay
from stack import up as stack
from stack.layers import layers
from stack.status import statuses

NAME = "fallen"
RATE = 1_000


def run(lab: Lab, size: Size) -> Result:
    """Hold the stream, go on sending, let it go; then kill -9 and see when its supervisor has it back."""
    found = Result("recovery", "Restart and catch-up", "s")
    outage = size.of(60, 8)
    numbers = Numbers()
    lab.declared(NAME)
    lab.new_topic(f"{NAME}-relay")
    with lab.running(NAME):
        arm = Braid(lab, NAME)
        measured(lab, arm, RATE, size.of(10, 4), "warm", numbers)
        program = next(p for p in layers(lab.settings, [NAME]) if p.name.startswith("speed-"))
        client = Client(lab.settings.ports.api)
        with _sending(lab, arm, numbers, outage + size.of(70, 60)) as load:
            stack.hold(lab.settings, program.name)
            time.sleep(outage)
            behind = status(client, NAME)["lag"]["events"]
            say(f"recovery: {behind:,} events behind")
            began = time.monotonic()
            stack.start_again(lab.settings, program)
            ready_s = time.monotonic() - began
            eventually(
                "the lag is that of a running stream", lambda: status(client, NAME)["lag"]["events"] < RATE, 180, 0.02
            )
            caught_s = time.monotonic() - began
            pid = next(s.pid for s in statuses(lab.settings, []) if s.name == program.name and s.pid)
            os.kill(pid, signal.SIGKILL)
            began = time.monotonic()
            head = status(client, NAME)["head"]["seq"]
            eventually("a new micro-batch", lambda: status(client, NAME)["head"]["seq"] > head + 1, 180, 0.05)
            killed_s = time.monotonic() - began
            load.finish()
        wrong = arm.wrong()
        found.samples.append(
            {
                "outage_s": outage,
                "behind": behind,
                "ready_s": ready_s,
                "caught_up_s": caught_s,
                "after_kill_s": killed_s,
                "wrong": wrong,
            }
        )
        if wrong:
            found.failed("catch-up", wrong)
        else:
            note = f"{behind:,} events behind; its JVM and start took {ready_s:.1f} s of it; exact afterwards"
            anchor = _relay(lab, arm, outage)
            found.rows.append(
                Row(
                    f"catch-up after {outage:g} s at {RATE:,} events/s", "s", caught_s, anchor, "relay, which keeps nothing and starts anew",
                    target=Target("product", "at most", 15), note=note,
                )
            )  # fmt: skip
            found.rows.append(
                Row("kill -9 → next commits in the API, supervised", "s", killed_s, note="exact afterwards")
            )
            found.bars = {"braid, catch-up": caught_s, "relay, catch-up": anchor, "braid, kill -9": killed_s}
    lab.drop(NAME)
    return found


def _relay(lab: Lab, arm: Braid, outage: float) -> float:
    """Return how long a relay takes from its start until it has counted the same topic: it has kept nothing."""
    del outage
    began = time.monotonic()
    expected = {name: state[0] for name, state in arm.reference.by_class().items()}
    with relay(lab, arm.topic, "relay_fallen") as other, other.awake():
        eventually("the relay has counted everything", lambda: _all(other, expected), 180, 0.05)
        return time.monotonic() - began


def _all(other: Route, expected: dict[str, int]) -> bool:
    return {name: other.counted(name) for name in expected} == expected


class _sending:  # noqa: N801 - it is used as a block
    """A load of 1,000 events a second beside what the block does."""

    def __init__(self, lab: Lab, arm: Braid, numbers: Numbers, seconds: float) -> None:
        first = numbers.take(arm.topic, int(RATE * seconds))
        spec = {
            "bootstrap": lab.settings.kafka_bootstrap, "topic": arm.topic, "seed": SEED, "first": first, "rate": RATE,
            "seconds": seconds, "run": "outage", "probes": False,
        }  # fmt: skip
        self._arm, self._seconds = arm, seconds
        self._held = lab.process("bench.generator", json.dumps(spec))
        self._told: dict[str, Any] | None = None

    def __enter__(self) -> _sending:
        self._process = self._held.__enter__()
        self._process.hear(300)
        self._process.tell("go")
        return self

    def finish(self) -> None:
        """Wait until everything is sent, and let the reference know."""
        self._told = self._process.hear(self._seconds * 2 + 120)
        self._arm.reference.add(events.reference(self._told["reference"]))

    def __exit__(self, *error: Any) -> None:
        self._held.__exit__(*error)

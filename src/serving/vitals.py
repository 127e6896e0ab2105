"""What a status tells beyond how far the dataset has come: rates, phases, ages, the audit, conservation."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from braid.generations import counts
from braid.instants import iso
from braid.ledger import Current, LedgerRow

RATE_OVER_S = 60.0
COUNTED = ("good", "copies", "dead", "absent")


@dataclass(slots=True)
class Rates:
    """The ledger's running totals over the last minute, a sample a second: how fast records are counted."""

    samples: deque[tuple[float, dict[str, int]]] = field(default_factory=lambda: deque(maxlen=256))

    def add(self, now_s: float, head: LedgerRow | None) -> None:
        """Remember where the totals stand; now_s is monotonic."""
        if head is not None:
            self.samples.append((now_s, {name: head.totals.get(name, 0) for name in COUNTED}))
        while len(self.samples) > 2 and now_s - self.samples[1][0] >= RATE_OVER_S:
            self.samples.popleft()

    def report(self) -> dict[str, Any]:
        """Return events a second and the share of dead letters, over the last minute; None before two samples."""
        if len(self.samples) < 2 or self.samples[-1][0] <= self.samples[0][0]:
            return {"over_s": 0.0, "events_per_s": None, "good_per_s": None, "dead_letter_rate": None}
        (from_s, before), (to_s, after) = self.samples[0], self.samples[-1]
        more = {name: after[name] - before[name] for name in COUNTED}
        over_s, records = to_s - from_s, more["good"] + more["copies"] + more["dead"]
        return {
            "over_s": round(over_s, 3),
            "events_per_s": round(records / over_s, 3),
            "good_per_s": round(more["good"] / over_s, 3),
            "dead_letter_rate": round(more["dead"] / records, 6) if records else 0.0,
        }


def report(
    now_us: int, head: LedgerRow | None, current: Current | None, jobs: Mapping[str, Mapping[str, Any] | None]
) -> dict[str, Any]:
    """Return one plain value.

    Parameters
    ----------
    jobs : what each job's heartbeat says, by `speed` and `batch`; None when it does not run
    """
    published_us = current.published_at_us if current and current.gen else 0
    return {
        "generation_age_s": round(max(now_us - published_us, 0) / 1_000_000, 3) if published_us else None,
        "audit": _audit(current),
        "conservation": _conservation(head, current),
        "jobs": {name: _job(said) for name, said in jobs.items()},
        "micro_batch": (jobs.get("speed") or {}).get("micro_batch"),
    }


def _audit(current: Current | None) -> dict[str, Any] | None:
    """Return what the audit of the served generation compared, and what it could not; None when there is none."""
    if current is None or not current.gen:
        return None
    told = json.loads(current.audit)
    return {"generation": current.gen, "checked": told["checked"], "unaudited": told["unaudited"]}


def _conservation(head: LedgerRow | None, current: Current | None) -> dict[str, Any] | None:
    """Return whether the offsets before head are good + copies + dead + absent, none more and none less."""
    if head is None:
        return None
    sums = counts(head, current) if current else head.totals
    counted = {name: sums.get(name, 0) for name in COUNTED}
    offsets = sum(head.end.values())
    return {"offsets": offsets, **counted, "holds": offsets == sum(counted.values())}


def _job(said: Mapping[str, Any] | None) -> dict[str, Any]:
    if said is None:
        return {"running": False, "stage": None, "at": None}
    return {"running": True, "stage": said["stage"], "at": iso(said["at_us"])}

"""What a run says: refusals and a progress line on stderr, the summary on stdout."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import TextIO

from braid.instants import iso
from producer.publish import Progress
from producer.tables import Refusal


class Report:
    """Speaks for one run.

    Parameters
    ----------
    err : stderr; on a terminal the progress line is rewritten in place
    quiet : no progress lines (refusals are always said)
    """

    def __init__(self, err: TextIO, quiet: bool) -> None:
        self._err = err
        self._quiet = quiet
        self._live = err.isatty()
        self._open = False
        self._last: tuple[float, int] = (time.monotonic(), 0)

    def say(self, text: str) -> None:
        """Write one line."""
        self._write(self._cleared() + text + "\n")

    def refuse(self, refusal: Refusal) -> None:
        """Name a line that is not sent."""
        self.say(f"refused: {refusal}")

    def progress(self, progress: Progress, unacknowledged: int) -> None:
        """Say where the run stands."""
        if self._quiet:
            return
        text = progress_text(progress, self._rate(progress), unacknowledged)
        if not self._live:
            self.say(text)
            return
        self._write(self._cleared() + text)
        self._open = True

    def end(self) -> None:
        """Leave the progress line standing."""
        if self._open:
            self._write("\n")
            self._open = False

    def _rate(self, progress: Progress) -> float:
        """Return events sent per second since the line before."""
        now, (then, sent) = time.monotonic(), self._last
        self._last = (now, progress.sent)
        return (progress.sent - sent) / (now - then) if now > then else 0.0

    def _cleared(self) -> str:
        """Return what takes a progress line that stands there away."""
        open_, self._open = self._open, False
        return "\r\x1b[K" if open_ else ""

    def _write(self, text: str) -> None:
        """Write to stderr; when nobody reads it any more the run goes on in silence."""
        try:
            self._err.write(text)
            self._err.flush()
        except BrokenPipeError:
            self._err = io.StringIO()


def progress_text(progress: Progress, rate: float, unacknowledged: int) -> str:
    """Return the progress line: sent, rate, acknowledged, and what is unusual."""
    text = f"sent {progress.sent:,} · {rate:,.0f}/s · acknowledged {progress.acknowledged:,}"
    if progress.refused:
        text += f" · refused {sum(progress.refused.values()):,}"
    if progress.stalled and unacknowledged:
        text += f" · {unacknowledged:,} unanswered: is Kafka up?"
    if progress.waits_until_us is not None:
        text += f" · the next row waits for its time, {iso(progress.waits_until_us)} (a shorter --every or a --rate sends faster)"
    return text


def summary_text(summary: Mapping[str, object], as_json: bool) -> str:
    """Return the summary for people, or as one JSON object.

    Parameters
    ----------
    summary : dataset, topic, bootstrap, sent, acknowledged, refused, reasons, ignored, seconds, rate_per_s, position,
        rows, first_time, last_time, start, every, every_us, journal, ended; without the journal a kind instead:
        `synthetic` (seed, made_by) or `archive`
    """
    if as_json:
        return json.dumps(summary)
    s = summary
    lines = [
        f"{s['dataset']}: {s['sent']:,} sent to {s['topic']} at {s['bootstrap']}, {s['acknowledged']:,} acknowledged, "
        f"{s['refused']:,} refused, {s['ended']} in {s['seconds']:.1f} s ({s['rate_per_s']:,.0f}/s)"
    ]
    if s["ignored"]:
        lines.append(f"{s['ignored']:,} lines of other files belong to no row")
    times = f"event times {s['first_time']} to {s['last_time']}" if s["first_time"] else "no event times"
    if s.get("kind") == "synthetic":
        again = f"--start {s['start']} --every {s['every']} --seed {s['seed']}"
        return "\n".join([*lines, f"{times}; made up by {s['made_by']}, and again the same by {again}"])
    if s.get("kind") == "archive":
        return "\n".join([*lines, f"{times}; copies of records of the archive: they count once, as before"])
    if s["first_time"]:
        lines.append(f"{times} (--start {s['start']} --every {s['every']})")
    elif s["sent"]:
        lines.append("event times are the rows' own")
    journal = f"journal {s['journal']}" if s["journal"] else "no journal: another run keeps it"
    lines.append(f"{journal}: {s['position']:,} rows done, of {s['rows']:,} in a pass" + _hint(s))
    return "\n".join(lines)


def _hint(s: Mapping[str, object]) -> str:
    if s["ended"] == "nothing left":
        return "; nothing was left to send: raise --limit, or add --loop"
    if s["sent"] != s["acknowledged"]:
        return "; the rest may have arrived or not: --resume sends it again, and what arrived twice counts once"
    return ""


def write(out: TextIO, text: str) -> None:
    """Write to stdout; a reader that has gone away (`| head`) is no error."""
    try:
        out.write(text + "\n")
        out.flush()
    except BrokenPipeError:
        # the interpreter flushes stdout once more at exit; give it somewhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

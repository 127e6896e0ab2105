"""`make faults`: every row and moment of the matrix in an order of chance, on a stack of its own, for some minutes.

It goes on from row to row until the time is over, and fails when an answer was wrong, an acknowledged event was lost or
counted twice, or a failpoint of the list was hit fewer than three times. The same seed gives the same rows, moments and events.
"""

from __future__ import annotations

import argparse
import random
import secrets
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from braid.adapters.environment import load
from braid.adapters.failpoints import NAMES
from stack.up import down, up
from tests.services.faults.campaign import Campaign
from tests.services.faults.rows import OFTEN, ROWS, Row, lap
from tests.stack_fixture import names


def main() -> int:
    """Run a campaign; return 0 when nothing was wrong and every failpoint was hit."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="repeat a run (default: one of chance, printed)")
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--rate", type=float, default=300, help="events a second")
    parser.add_argument("--rows", default="", help="only these, separated by commas: F4,F7")
    parser.add_argument("--keep-going", action="store_true", help="after a row that failed too")
    parser.add_argument("--report", type=Path, default=Path(".braid/faults.json"))
    options = parser.parse_args()
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="braid-faults-"))
    sys.stdout.write(f"faults: seed {seed}, {options.minutes:g} minutes, {options.rate:g} events/s, home {folder}\n")
    settings = load(names(BRAID_HOME=str(folder / "home"), BRAID_PORTS="free"))
    failed = ""
    try:
        settings = up(settings, say=print)
        campaign = Campaign(settings, folder, seed, options.rate)
        try:
            failed = _run(campaign, options) or campaign.verify_receipts()
        finally:
            campaign.close()
            options.report.parent.mkdir(parents=True, exist_ok=True)
            campaign.tally.write(options.report)
    finally:
        down(settings)
    return _told(campaign, failed, options, folder)


def _run(campaign: Campaign, options: argparse.Namespace) -> str:
    """Run rows until the time is over; return what failed, or nothing."""
    began, failed = time.monotonic(), ""
    for row, moment in order(campaign.tally.seed, options.rows):
        if time.monotonic() - began > options.minutes * 60 or (failed and not options.keep_going):
            break
        try:
            campaign.row(row.name, moment, row.run, row.allowed)
        except Exception:  # noqa: BLE001 - whatever it is, the report says it and the seed
            said = f"{row.name} {moment}: {traceback.format_exc()}"
            campaign.tally.failed.append(said)
            sys.stdout.write(f"  FAILED {said}\n")
            sys.stdout.flush()
            failed += said
        finally:
            campaign.tally.seconds = round(time.monotonic() - began)
    return failed


def order(seed: int, wanted: str = "") -> list[tuple[Row, str]]:
    """Return rows and moments for hours, lap after lap."""
    chosen = [row for row in ROWS if not wanted or row.name in wanted.split(",")]
    chance = random.Random(f"order {seed}")
    return [pair for _ in range(20) for pair in lap(chosen, chance)]


def _told(campaign: Campaign, failed: str, options: argparse.Namespace, folder: Path) -> int:
    tally = campaign.tally
    hits = {name: sum(n for entry, n in tally.kills.items() if entry.split(":")[0] == name) for name in NAMES}
    mine = [name for name in NAMES if not name.startswith("apply.")]  # those are hit by tests/services/test_apply.py
    scarce = [f"{name} {hits[name]}" for name in mine if hits[name] < OFTEN] if not options.rows else []
    sys.stdout.write(f"faults: {tally.seconds} s; {tally.line()}\nfaults: report {options.report}\n")
    if failed:
        sys.stdout.write(f"faults: FAILED; repeat it with SEED={tally.seed}; home kept: {folder}\n{failed}\n")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    if scarce:
        sys.stdout.write(f"faults: hit fewer than {OFTEN} times: {', '.join(scarce)}; give it more MINUTES\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Every row of the fault matrix on the real stack, one moment each, chosen by the commit; `make faults` runs them all."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.services.faults.campaign import Campaign
from tests.services.faults.rows import ROWS, Row


def seed_of_this_run() -> int:
    """Return BRAID_SEED, else a number of the commit."""
    told = os.environ.get("BRAID_SEED")
    if told:
        return int(told)
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return int(done.stdout.strip()[:8] or "1", 16)


@pytest.fixture(scope="module")
def campaign(stack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    running = Campaign(stack, folder, seed_of_this_run())
    print(f"\nfaults: BRAID_SEED={running.tally.seed}")  # noqa: T201
    yield running
    running.close()
    running.tally.write(folder / "report.json")
    print(f"\nfaults: {running.tally.line()}; report {folder / 'report.json'}")  # noqa: T201


TRIED = ("F1", "F4", "F5", "F9")


@pytest.mark.parametrize("row", [row for row in ROWS if row.name in TRIED], ids=lambda row: row.name)
def test_answers_stay_exact_when(campaign, row: Row):
    campaign.row(row.name, row.moment(campaign.tally.seed), row.run, row.allowed)

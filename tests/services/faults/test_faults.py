"""The rows of the fault matrix on the real stack, one moment each, chosen by the commit; `make faults` runs them all."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.services.faults.campaign import Campaign
from tests.services.faults.rows import Row, of_commit


def seed_of_this_run() -> int:
    """Return BRAID_SEED, else a number of the commit."""
    told = os.environ.get("BRAID_SEED")
    if told:
        return int(told)
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return int(done.stdout.strip()[:8] or "1", 16)


SEED = seed_of_this_run()


@pytest.fixture(scope="module")
def campaign(stack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    print(f"\nfaults: BRAID_SEED={SEED}")  # noqa: T201
    running = Campaign(stack, folder, SEED)
    yield running
    running.close()
    running.tally.write(folder / "report.json")
    print(f"\nfaults: {running.tally.line()}; report {folder / 'report.json'}")  # noqa: T201


@pytest.mark.parametrize(("row", "moment"), of_commit(SEED), ids=lambda part: getattr(part, "name", part))
def test_answers_stay_exact_when(campaign, row: Row, moment: str):
    campaign.row(row.name, moment, row.run, row.allowed)

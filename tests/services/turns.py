"""What `make test` takes in turn, so that it stays under half an hour: one of the long suites a commit, chosen by its number.

Each starts layers of its own and takes two minutes or more; what they hold is held in parts by shorter tests, too. What is
named (`make test TESTS=tests/services/test_apply.py`) always runs, and with BRAID_TURNS=all everything does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from tests.services.faults.test_faults import seed_of_this_run

SUITES = {
    "test_apply.py": "apply",
    "test_datasets_live.py": "datasets",
    "test_gaps_live.py": "gaps",
    "test_sent_live.py": "sent",
    "test_kills_live.py": "kills",
    "test_load.py": "load",
}
TESTS = {
    "test_both_jobs_run_as_bare_spark_submit_lines": "bare",
    "test_slow_clients_do_not_keep_others_waiting_and_are_ended": "bare",
    "test_runs_publish_the_truth_whatever_killed_the_one_before": "heavy",
}
TURNS = (*SUITES.values(), "heavy", "bare")  # heavy: also the fault rows of that name


def turn_of(item: pytest.Item) -> str | None:
    """Return the turn to which a test belongs; None for one that always runs."""
    if item.path.name in SUITES:
        return SUITES[item.path.name]
    row = getattr(getattr(item, "callspec", None), "params", {}).get("row")
    return "heavy" if getattr(row, "turn", "") == "heavy" else TESTS.get(item.name)


def taken(arguments: Sequence[str]) -> str | None:
    """Return the turn of this run, given pytest's arguments; None when everything runs.

    Examples
    --------
    >>> taken(["tests/services"]) in (None, *TURNS), taken(["tests/services/test_apply.py"])
    (True, None)
    """
    whole = any(argument.rstrip("/").endswith(("tests", "tests/services")) for argument in arguments) or not arguments
    if not whole or os.environ.get("BRAID_TURNS") == "all":
        return None
    return TURNS[seed_of_this_run() // 7 % len(TURNS)]  # not in step with the turns of the fault rows

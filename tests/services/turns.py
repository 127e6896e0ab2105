"""Long suites that `make test` takes in turn, so that it stays under half an hour: one a commit, chosen by its number.

Each starts layers of its own and takes three minutes or more; what they hold is held in parts by shorter tests, too. A suite
that is named (`make test TESTS=tests/services/test_apply.py`) always runs, and with BRAID_TURNS=all every one does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from tests.services.faults.test_faults import seed_of_this_run

SUITES = ("test_apply.py", "test_datasets_live.py", "test_gaps_live.py")


def left_out(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the suites whose turn it is not, given pytest's arguments.

    Examples
    --------
    >>> len(left_out(["tests/services"])) in (0, 2), left_out(["tests/services/test_apply.py"])
    (True, ())
    """
    named = any(argument.partition("::")[0].endswith(SUITES) for argument in arguments)
    if named or os.environ.get("BRAID_TURNS") == "all":
        return ()
    taken = SUITES[seed_of_this_run() // 7 % len(SUITES)]  # not in step with the turns of the fault rows
    return tuple(suite for suite in SUITES if suite != taken)

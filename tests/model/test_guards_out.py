"""Every guard taken out of the source makes the test fail that is named for it; those that need the stores are in services/."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.guards import GUARDS, ROOT, Guard, copied, fails_without, passes, taken_out

HERE = [guard for guard in GUARDS if not guard.needs_stack]


def test_each_guards_test_fails_without_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda pair: fails_without(pair[1], tmp_path / f"tree{pair[0]}"), enumerate(HERE)))
    assert all("failed" in line for line in said), said


def test_they_pass_in_a_copy_with_every_guard(tmp_path: Path) -> None:
    passed, said = passes([guard.test for guard in HERE], copied(tmp_path / "tree"))
    assert passed, said


def test_a_piece_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    rotten = Guard("rotten", "src/braid/ledger.py", "no such line", "", HERE[0].test)
    with pytest.raises(AssertionError, match="expected its piece once, got it 0 times"):
        taken_out(rotten, ROOT)


def test_the_list_stands_in_the_docs() -> None:
    text = (ROOT / "docs" / "faults.md").read_text("utf-8")
    missing = [guard.name for guard in GUARDS if guard.name not in text or guard.test.rpartition("::")[2] not in text]
    assert not missing

"""The guards of the real speed layer, taken out one at a time: the test that is named for each must then fail.

A guard is a piece of the source that must be found exactly once, and what stands there without it. The edit is made in
a copy of the tree; the test runs there in a process of its own. A guard whose piece is no longer found is an error, so
the list cannot rot. `make guards` runs all of them; `make test` does too (`tests/model`, `tests/services`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_COPIED = ("src", "tests", "datasets", "cql", "pyproject.toml", "requirements.in", "README.md")
_LINKED = ("data", "docs", "dashboard", "infrastructure", "bench")
_REAL = "tests/model/test_real_guards.py::"
_APPLY = "tests/model/test_apply.py::"
_LOAD = "tests/model/test_load.py::"
_CASSANDRA = "tests/services/test_cassandra_contract.py::"


@dataclass(frozen=True)
class Guard:
    """One guard: what it protects, where it stands, what stands there without it, and the test that then fails."""

    name: str
    file: str
    held: str
    without: str
    test: str

    @property
    def needs_stack(self) -> bool:
        """Whether its test runs on the real stores."""
        return self.test.startswith("tests/services/")


GUARDS = (
    Guard(
        "in order: nothing is counted while the micro-batch before it is",
        "src/speed_layer/stream.py",
        "        self.behind.settle()\n",
        "",
        "tests/model/test_read_ahead.py::test_a_small_one_waits_until_the_large_one_before_it_is_counted",
    ),
    Guard(
        "ledger check: a range that the ledger holds is passed over",
        "src/speed_layer/microbatch.py",
        'if ledger.decide(driver.head, offered) != "commit":',
        "if offered.empty:",
        _REAL + "test_a_range_that_the_ledger_holds_is_not_counted_again",
    ),
    Guard(
        "chain check: a range begins where head ends",
        "src/braid/ledger.py",
        "if dict(offered.start) == dict(head.end):",
        "if dict(offered.start) != dict(head.range.start):",
        _REAL + "test_a_range_that_does_not_begin_at_heads_end_is_refused_and_nothing_is_written",
    ),
    Guard(
        "conservation: a row accounts for every offset",
        "src/speed_layer/microbatch.py",
        "    ledger.check_chain([row])\n",
        "",
        _REAL + "test_a_row_that_does_not_account_for_every_offset_is_never_written",
    ),
    Guard(
        "LWT condition: one writer wins a seq",
        "src/braid/adapters/cassandra/ledger.py",
        "self._insert = rows.insert(only_new=True)",
        "self._insert = rows.insert()",
        _CASSANDRA + "TestCassandraLedger::test_the_second_writer_of_a_seq_loses_and_changes_nothing",
    ),
    Guard(
        "LWT outcome: the loser raises",
        "src/braid/adapters/cassandra/ledger.py",
        "if held is not None and (held.writer, held.attempt) != (row.writer, row.attempt):",
        "if False:",
        _CASSANDRA + "TestCassandraLedger::test_the_second_writer_of_a_seq_loses_and_changes_nothing",
    ),
    Guard(
        "visibility: readers see committed attempts only",
        "src/braid/adapters/cassandra/states.py",
        "if wanted.get(row[seq]) == row[attempt])",
        "if row[seq] in wanted)",
        _CASSANDRA + "TestCassandraFragments::test_fragments_of_an_attempt_that_was_never_committed_are_not_read",
    ),
    Guard(
        "`through_seq` at the put: ids only after seq − 1",
        "src/braid/adapters/lmdb.py",
        "if _through(txn, self._meta) != seq - 1:",
        "if False:",
        "tests/unit/test_lmdb_contract.py::TestLmdbSeenIds::test_only_the_next_seq_may_be_put",
    ),
    Guard(
        "`through_seq` at the start: a file ahead of head is built anew",
        "src/speed_layer/start.py",
        "    if through > head.seq:\n",
        "    if False:\n",
        _REAL + "test_seen_ids_ahead_of_the_ledger_are_built_anew",
    ),
    Guard(
        "`through_seq` refused: a driver that was replaced ends",
        "src/speed_layer/microbatch.py",
        "    if not driver.seen.put(work.row.seq, work.ids):\n",
        "    if driver.seen.put(work.row.seq, work.ids) is None:\n",
        _REAL + "test_a_driver_whose_seen_ids_another_has_moved_on_ends",
    ),
    Guard(
        "ids are put only after the commit",
        "src/speed_layer/microbatch.py",
        '    ports.ledger.append(work.row)\n    yield "committed"\n    put_ids(driver, work)\n',
        '    put_ids(driver, work)\n    ports.ledger.append(work.row)\n    yield "committed"\n',
        _REAL + "test_no_id_is_known_before_its_micro_batch_is_committed",
    ),
    Guard(
        "readable rows of a micro-batch are waited for before the next one's ledger row",
        "src/speed_layer/microbatch.py",
        '    ports.projections.settle()\n    yield "projected"\n',
        '    yield "projected"\n',
        _REAL + "test_no_row_is_added_before_what_people_read_of_the_one_before_is_written",
    ),
    Guard(
        "ids of a micro-batch are put before the next one looks for its own",
        "src/braid/adapters/behind.py",
        "            self._last.result()\n",
        "            pass\n",
        _REAL + "test_no_id_is_looked_for_before_those_of_the_micro_batch_before_are_put",
    ),
    Guard(
        "alerts of a micro-batch are written before its ledger row",
        "src/speed_layer/microbatch.py",
        '    alerts()\n    yield "alerts"\n',
        '    yield "alerts"\n',
        _REAL + "test_no_row_is_added_before_its_alerts_and_its_dead_letters_are_written",
    ),
    Guard(
        "dead letters of a micro-batch are written before its ledger row",
        "src/speed_layer/microbatch.py",
        '    letters()\n    yield "written"\n',
        '    yield "written"\n',
        _REAL + "test_no_row_is_added_before_its_alerts_and_its_dead_letters_are_written",
    ),
    Guard(
        "the seen ids are held against the ledger",
        "src/speed_layer/start.py",
        "    if seen.scan() != wanted:\n",
        "    if False:\n",
        _REAL + "test_seen_ids_that_lack_one_are_built_anew",
    ),
    Guard(
        "a server merges whole rows only",
        "src/serving/tail.py",
        "        if got != expected:\n",
        "        if False:\n",
        "tests/unit/test_serving_follower.py::test_fragments_that_do_not_add_up_stop_the_answer_before_their_seq",
    ),
    Guard(
        "a changed declaration: no driver before its generation",
        "src/speed_layer/start.py",
        "    if change.pending(head, current):\n",
        "    if False:\n",
        _APPLY + "test_no_driver_starts_before_a_generation_covers_the_change",
    ),
    Guard(
        "a changed declaration: the readable rows of the old one are emptied",
        "src/speed_layer/start.py",
        "        driver.ports.projections.truncate()\n",
        "        pass\n",
        _APPLY + "test_readable_rows_of_the_old_declaration_are_gone_before_the_first_new_one",
    ),
    Guard(
        "a changed declaration: no alert of the old one in an answer",
        "src/serving/recent.py",
        "    if changed:\n",
        "    if False:\n",
        _APPLY + "test_alerts_of_the_old_declaration_stand_in_no_answer_of_the_new_one",
    ),
    Guard(
        "a changed declaration: no file of the old one is taken over",
        "src/braid/adapters/files.py",
        " if previous and previous.definition == new.definition else {}",
        " if previous else {}",
        _APPLY + "test_parts_of_equal_integers_are_written_again_when_what_they_mean_has_changed",
    ),
    Guard(
        "a changed declaration: as many records counted again as before",
        "src/batch_layer/apply.py",
        "    if whole.records != expected:\n",
        "    if False:\n",
        _APPLY + "test_records_that_are_missing_from_the_recount_block_the_publication",
    ),
    Guard(
        "a changed declaration: pending as long as no generation covers its row",
        "src/braid/change.py",
        "    return since(head) > current.cut_seq\n",
        "    return head.definition != current.definition\n",
        _APPLY + "test_a_change_is_given_up_by_applying_the_old_text_again",
    ),
    Guard(
        "a changed declaration: a server reads the old generation from its files",
        "src/serving/follower.py",
        " if stores.past is not None and change.pending(head, current) else stores.generations",
        " if False else stores.generations",
        _APPLY + "test_a_server_started_while_hive_has_the_new_shape_answers_by_the_old_declaration",
    ),
    Guard(
        "history in bulk: no driver before its generation",
        "src/speed_layer/start.py",
        "    if bulk.pending(head, current):",
        "    if False:",
        _LOAD + "test_a_crash_after_any_step_is_finished_by_running_it_again",
    ),
    Guard(
        "history in bulk: a load that lost the race leaves no archive",
        "src/batch_layer/bulk.py",
        '            ports.ledger.append(row)\n            yield "committed"\n            ports.taking.keep(row)\n',
        '            ports.taking.keep(row)\n            ports.ledger.append(row)\n            yield "committed"\n',
        _LOAD + "test_a_driver_that_comes_back_before_the_row_wins_and_the_load_is_run_again",
    ),
    Guard(
        "history in bulk: a load knows its own row",
        "src/batch_layer/bulk.py",
        "    if not committed(ports.ledger, load):\n",
        "    if True:\n",
        _LOAD + "test_what_came_after_the_row_is_left_to_the_stream",
    ),
)


def copied(folder: Path) -> Path:
    """Copy what tests need of the tree to a folder; what is large or never edited is linked."""
    folder.mkdir(parents=True)
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, folder / name)
    for name in _LINKED:
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    return folder


def taken_out(guard: Guard, tree: Path) -> None:
    """Take a guard out of a copy.

    Raises
    ------
    AssertionError
        Its piece does not stand in its file exactly once.
    """
    path = tree / guard.file
    text = path.read_text("utf-8")
    found = text.count(guard.held)
    assert found == 1, (
        f"{guard.file}: {guard.name}: expected its piece once, got it {found} times: mend tests/guards.py"
    )
    path.write_text(text.replace(guard.held, guard.without), "utf-8")


def passes(tests: Sequence[str], tree: Path, home: Path | None = None) -> tuple[bool, str]:
    """Run tests in a tree; return whether all passed, and the last lines of what was said.

    Raises
    ------
    AssertionError
        It was not run at all.
    """
    environ = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "TEST_STACK"}}
    environ |= {"TEST_STACK": str(home)} if home else {}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", *tests]
    done = subprocess.run(command, cwd=tree, env=environ, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode in {0, 1}, f"{tests} did not run:\n{done.stdout[-2000:]}{done.stderr[-1000:]}"
    return done.returncode == 0, "\n".join(done.stdout.splitlines()[-3:])


def fails_without(guard: Guard, folder: Path, home: Path | None = None) -> str:
    """Return how a guard's test fails without it.

    Raises
    ------
    AssertionError
        It passes all the same.
    """
    tree = copied(folder)
    taken_out(guard, tree)
    passed, said = passes([guard.test], tree, home)
    assert not passed, f"{guard.name}: {guard.test} passes without it"
    return said.splitlines()[-1] if said else ""


def main(argv: Sequence[str]) -> int:
    """Take out every guard whose test needs no store, and with a running stack's home the others too."""
    home = Path(argv[0]).resolve() if argv else None
    wrong = 0
    for number, guard in enumerate(GUARDS):
        if guard.needs_stack and home is None:
            sys.stdout.write(f"not run  {guard.name}: needs the home of a running stack as argument\n")
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                fails_without(guard, Path(folder) / f"tree{number}", home)
                verdict = "fails   "
            except AssertionError as error:
                wrong, verdict = wrong + 1, f"PASSES  ({error})"
        sys.stdout.write(f"{verdict} {guard.name}: {guard.test}\n")
        sys.stdout.flush()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

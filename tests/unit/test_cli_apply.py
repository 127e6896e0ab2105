"""`braid plan` and `braid apply` as a person meets them: what is shown, what is asked, and how they end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from braid import change, ledger
from braid.adapters.environment import load
from braid.adapters.master import Master
from braid.adapters.memory import MemoryLedger
from braid.declaration import Declaration
from braid.declaration_reader import parse
from braid.definitions import in_force
from braid.ledger import Current, LedgerRow, Range
from cli import apply as commands
from cli.main import main
from tests.model.change import NEW, OLD
from tests.stack_fixture import names

P = ("plant-log", 0)
Hold = Callable[..., MemoryLedger]


@pytest.fixture
def hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hold:
    """Return what lets the commands find a ledger that counted 9 records by OLD, and a file that says something."""

    def holding(declared: Declaration, *, pending: bool = False) -> MemoryLedger:
        store = MemoryLedger()
        first = ledger.genesis({"plant-log": "one"}, [P], OLD.hash, OLD.text, "w")
        store.create(first, Current(0, 0, first.end, OLD.hash))
        row = LedgerRow(1, "micro", 1, "w", Range({P: 0}, {P: 9}), good=8, copies=1, definition=OLD.hash)
        store.append(ledger.with_totals(first, row))
        if pending:
            store.append(change.row_of(store.head(), declared, "killed", 0))
        settings = load(names(BRAID_HOME=str(tmp_path / "home"), BRAID_PORTS="free"))
        last = settings.home / "batch" / "plant" / "last.json"
        last.parent.mkdir(parents=True)
        last.write_text(json.dumps({"records": 9, "archived": 9, "steps": {"views": 60.0, "read": 6.0}}), "utf-8")

        @contextmanager
        def found(dataset: str) -> Iterator[commands.Found]:
            assert dataset == "plant"
            head, stores, master = store.head(), SimpleNamespace(ledger=store), Master(tmp_path, "plant")
            held: Any = in_force(store, head)
            nothing: Any = None
            yield commands.Found(settings, declared, held, nothing, stores, master, store.current(), head)  # type: ignore[arg-type]

        monkeypatch.setattr(commands, "_found", found)
        return store

    return holding


def test_a_plan_names_every_change_and_what_it_costs(hold: Hold, capsys: pytest.CaptureFixture[str]) -> None:
    hold(NEW)
    assert main(["plan", "plant"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"plant: {OLD.hash[:12]} in force, {NEW.hash[:12]} in the file" in out
    assert "x: max nothing → 30; scale 2 → 1" in out and "by_hour added" in out and "old_only removed" in out
    assert "to read again: 9 records (0 of the master, 0.0 MB; 9 from Kafka)" in out
    assert "views now: nothing is published yet" in out
    assert "needed: disk not known yet; time about 2.1 minutes" in out


def test_a_plan_for_scripts_is_json(hold: Hold, capsys: pytest.CaptureFixture[str]) -> None:
    hold(NEW)
    assert main(["plan", "plant", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["dataset"], told["needed"], told["pending"], told["refusals"]) == ("plant", True, False, [])
    assert told["cost"]["records"] == 9 and told["cost"]["minutes"] == 2.1
    assert {d["name"] for d in told["differences"] if d["decides"]} >= {"x", "by_hour", "odd_x"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (OLD.text, "the file is in force as it is"),
        (OLD.text + "title: Plants\n", "only words, paths or the schedule differ"),
    ],
)
def test_nothing_to_be_done_is_said(hold: Hold, capsys: pytest.CaptureFixture[str], text: str, said: str) -> None:
    hold(parse(text))
    assert main(["plan", "plant"]) == 0
    assert f"plant: nothing to apply: {said}" in capsys.readouterr().out
    assert main(["plan", "plant", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cost"] is None


def test_what_cannot_be_applied_is_refused_with_its_reason(hold: Hold, capsys: pytest.CaptureFixture[str]) -> None:
    store = hold(parse(OLD.text.replace("topic: plant-log", "topic: other-log")))
    head = store.head()
    assert main(["plan", "plant"]) == 1
    assert "cannot be applied: topics: expected plant-log as in the ledger, got other-log" in capsys.readouterr().out
    assert main(["apply", "plant", "--yes"]) == 1
    assert "got other-log" in (err := capsys.readouterr().err) and "nothing was changed" in err
    assert store.head() == head


def test_applying_asks_and_without_a_terminal_wants_to_be_told(hold: Hold, capsys: pytest.CaptureFixture[str]) -> None:
    store = hold(NEW)
    head = store.head()
    assert main(["apply", "plant"]) == 2
    assert "confirm with --yes" in capsys.readouterr().err
    assert store.head() == head


def test_a_change_that_was_cut_short_is_shown_as_such(hold: Hold, capsys: pytest.CaptureFixture[str]) -> None:
    hold(NEW, pending=True)
    assert main(["plan", "plant"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "is being applied from ledger seq 2 on" in out and "finish it: braid apply plant" in out
    assert "nothing to apply" not in out and "to read again: 9 records" in out

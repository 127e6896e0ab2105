"""Generations, the master and durable files on a real disk: whole or not there, and never believed unchecked."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from braid.adapters import durable
from braid.adapters.files import ROWS, FileGenerations, Manifest
from braid.adapters.master import Cut, Master
from braid.aggregates import Moments, State
from braid.errors import AuditFailed, MasterRefused, StoreUnavailable
from braid.generations import Audited, Sums, audit_text, sums_of, sums_of_view
from braid.ledger import Current, LedgerRow, Range
from braid.views import View, merge_views
from tests.contracts import BY_CITY, BY_MINUTE, DECLARATION, GenerationsContract, Published

SPECS = {v.name: v for v in DECLARATION.views}
DAY_US = 86_400_000_000


def new(gen: int, previous: int = 0) -> Manifest:
    return Manifest("contract", gen, previous, gen, {("contract-rides", 0): gen}, DECLARATION.hash, (f"cut={gen}",), {})


def current_of(manifest: Manifest) -> Current:
    audit = audit_text({name: v.sums for name, v in manifest.views.items()}, Audited())
    return Current(manifest.gen, manifest.cut_seq, manifest.cut, manifest.definition, audit)


def state(n: int) -> State:
    return State(n, n, (Moments(n, n, n, 1, 1), Moments()))


@pytest.fixture
def generations(tmp_path: Path) -> FileGenerations:
    return FileGenerations(tmp_path / "a warehouse", DECLARATION)


@pytest.fixture
def published(generations: FileGenerations) -> Published:
    def publish(gen: int, views: dict[str, View]) -> Current:
        return current_of(generations.write(new(gen, gen - 1), SPECS, views))

    return publish


class TestFileGenerations(GenerationsContract):
    @pytest.fixture
    def damage(self, generations: FileGenerations) -> Callable[[int], object]:
        def flip(gen: int) -> None:
            path = next(generations.path.glob(f"*/gen={gen}/*/{ROWS}"))
            held = bytearray(path.read_bytes())
            held[len(held) // 2] ^= 1
            path.write_bytes(bytes(held))

        return flip


def test_a_manifest_that_lies_is_caught_by_what_was_published(
    generations: FileGenerations, published: Published
) -> None:
    current = published(1, GenerationsContract.VIEWS)
    other = published(2, {name: {} for name in SPECS})
    path = generations.path / "gen=1.json"
    plain = json.loads(path.read_text(encoding="utf-8"))
    plain["views"] = generations.manifest(other.gen).plain()["views"]
    path.write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(AuditFailed, match=r"rides_by_city: expected 1 rows with n 2, .*got 0 rows with n 0"):
        generations.view(current, BY_CITY)


def test_a_deleted_file_is_named(generations: FileGenerations, published: Published) -> None:
    current = published(1, GenerationsContract.VIEWS)
    path = next((generations.path / BY_CITY.name).glob(f"gen=1/*/{ROWS}"))
    path.unlink()
    with pytest.raises(AuditFailed, match=f"{path.parent.name}/{ROWS}: expected .* bytes, got No such file"):
        generations.view(current, BY_CITY)


def test_a_number_is_used_once(generations: FileGenerations, published: Published) -> None:
    published(1, GenerationsContract.VIEWS)
    with pytest.raises(FileExistsError):
        published(1, GenerationsContract.VIEWS)


def test_an_unchanged_part_is_not_written_again(generations: FileGenerations, published: Published) -> None:
    january: View = {(0, ("oslo", "a")): state(1)}
    published(1, {BY_MINUTE.name: january | {(40 * DAY_US, ("oslo", "a")): state(2)}})
    current = published(2, {BY_MINUTE.name: january | {(40 * DAY_US, ("oslo", "a")): state(3)}})
    parts = generations.manifest(2).views[BY_MINUTE.name].parts
    assert {name: p.path.split("/")[-2] for name, p in parts.items()} == {"1970-01": "gen=1", "1970-02": "gen=2"}
    assert generations.view(current, BY_MINUTE)[40 * DAY_US, ("oslo", "a")] == state(3)


def test_a_part_that_no_longer_is_what_it_was_is_written_again(
    generations: FileGenerations, published: Published
) -> None:
    views = {BY_MINUTE.name: {(0, ("oslo", "a")): state(1)}}
    published(1, views)
    next(generations.path.glob(f"*/gen=1/*/{ROWS}")).unlink()
    current = published(2, views)
    assert generations.view(current, BY_MINUTE) == views[BY_MINUTE.name]


def random_view(rng: random.Random, by_city: bool) -> dict[tuple[int, tuple[str, ...]], State]:
    """Return some states in few parts, so that they meet again."""
    view = {}
    for _ in range(rng.randrange(8)):
        place = (0, (rng.choice("abcdef"),)) if by_city else (rng.randrange(3) * 40 * DAY_US, (rng.choice("ab"), "x"))
        made = state(rng.randrange(1, 9))
        view[place] = replace(made, measures=made.measures[:1]) if by_city else made
    return view


@pytest.mark.parametrize("seed", range(20))
def test_adding_what_came_since_is_writing_it_all(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    whole, added = (FileGenerations(tmp_path / name, DECLARATION) for name in ("whole", "added"))
    states: dict[str, View] = {name: random_view(rng, name == BY_CITY.name) for name in SPECS}
    written = (whole.write(new(1), SPECS, states), added.write(new(1), SPECS, states))
    for gen in range(2, 6):
        fresh = {name: random_view(rng, name == BY_CITY.name) for name in SPECS}
        states = {name: merge_views([states[name], fresh[name]]) for name in SPECS}
        written = whole.write(new(gen, gen - 1), SPECS, states), added.add(new(gen, gen - 1), SPECS, fresh)
        assert written[0] == written[1] == added.manifest(gen)
        for name, spec in SPECS.items():
            assert written[1].views[name].sums == sums_of_view(spec, states[name])
            assert added.view(current_of(written[1]), spec) == states[name]


def test_adding_reads_and_writes_only_the_parts_it_touches(generations: FileGenerations, published: Published) -> None:
    january, march = (0, ("oslo", "a")), (70 * DAY_US, ("oslo", "a"))
    published(1, {BY_MINUTE.name: {january: state(1), march: state(2)}, BY_CITY.name: {}})
    (generations.path / BY_MINUTE.name / "gen=1" / "part=1970-01" / ROWS).unlink()
    made = generations.add(new(2, 1), SPECS, {BY_MINUTE.name: {march: state(3)}, BY_CITY.name: {}})
    parts = {name: part.path.split("/")[-2] for name, part in made.views[BY_MINUTE.name].parts.items()}
    assert parts == {"1970-01": "gen=1", "1970-03": "gen=2"}
    with pytest.raises(AuditFailed, match="part=1970-01"):
        generations.add(new(3, 2), SPECS, {BY_MINUTE.name: {january: state(1)}, BY_CITY.name: {}})
    assert 3 not in generations.numbers()


def test_nothing_is_added_to_a_generation_that_is_not_there(generations: FileGenerations) -> None:
    with pytest.raises(StoreUnavailable, match="expected the manifest of generation 1"):
        generations.add(new(2, 1), SPECS, {name: {} for name in SPECS})


def test_removing_a_generation_leaves_the_parts_that_others_use(
    generations: FileGenerations, published: Published
) -> None:
    kept: View = {(0, ("oslo", "a")): state(1)}
    published(1, {BY_MINUTE.name: kept | {(40 * DAY_US, ("oslo", "a")): state(2)}})
    current = published(2, {BY_MINUTE.name: kept | {(40 * DAY_US, ("oslo", "a")): state(3)}})
    generations.remove([1], keep=[2])
    assert generations.view(current, BY_MINUTE)[0, ("oslo", "a")] == state(1)
    assert [p.name for p in generations.path.glob("*/gen=1/*")] == ["part=1970-01"]
    with pytest.raises(StoreUnavailable):
        generations.manifest(1)
    published(3, {BY_MINUTE.name: {}})
    generations.remove([1, 2], keep=[3])
    assert generations.numbers() == {3}


def test_a_killed_run_leaves_a_number_that_is_not_used_again(generations: FileGenerations) -> None:
    (generations.path / BY_CITY.name / "gen=4" / "part=key-0").mkdir(parents=True)
    assert generations.numbers() == {4}


def test_the_chain_of_published_generations_skips_what_was_never_served(generations: FileGenerations) -> None:
    for gen, previous in ((1, 0), (2, 1), (3, 1), (5, 3)):
        generations.write(new(gen, previous), SPECS, {})
    assert generations.chain(5, 3) == [5, 3, 1]


def test_rows_are_readable_by_any_parquet_reader(generations: FileGenerations, published: Published) -> None:
    published(1, GenerationsContract.VIEWS)
    found = duckdb.sql(
        f"select fare_mean, fare__sum, fp from '{generations.path}/rides_by_city/gen=1/*/*.parquet'"
    ).fetchall()
    assert [(mean, int(total), int(fp)) for mean, total, fp in found] == [(0.0, 0, 2**64 - 1)]


# ---- the master --------------------------------------------------------------------------------------------------


def cut(master: Master, seq: int, before: Cut | None) -> Cut:
    """Archive one record a cut, as the batch layer does."""
    folder = durable.stage(master.path, f"cut={seq}")
    (folder / "topic=t").mkdir()
    (folder / "topic=t" / "part-0.parquet").write_bytes(b"record %d" % seq)
    end = {("t", 0): seq}
    made = Cut(
        master.dataset, before.seq if before else 0, seq, before.end if before else {("t", 0): 0}, end, "def", 1,
        before.digest if before else "", durable.sums(folder),
    )  # fmt: skip
    (folder / "manifest.json").write_text(made.text(), encoding="utf-8")
    durable.rename_new(folder, master.path / made.folder)
    return made


@pytest.fixture
def master(tmp_path: Path) -> Master:
    found = Master(tmp_path, "d")
    cut(found, 9, cut(found, 4, cut(found, 2, None)))
    return found


def test_cuts_continue_one_another(master: Master) -> None:
    cuts = master.cuts()
    assert [(c.after, c.seq) for c in cuts] == [(0, 2), (2, 4), (4, 9)]
    assert master.check_files(cuts) == 24
    assert [p.parent.parent.name for p in master.files(cuts, "t")] == ["cut=2", "cut=4", "cut=9"]


def test_a_missing_cut_is_refused(master: Master) -> None:
    (master.path / "cut=4").rename(master.path / "aside")
    with pytest.raises(MasterRefused, match=r"cut=9: expected it to continue after seq 2 .*, got after seq 4 "):
        master.cuts()


def test_a_changed_file_is_named_with_both_sums(master: Master) -> None:
    (master.path / "cut=4" / "topic=t" / "part-0.parquet").write_bytes(b"record 5")
    with pytest.raises(
        MasterRefused, match=r"cut=4/topic=t/part-0.parquet: expected sha256 .{64} \(8 bytes\), got .{64} "
    ):
        master.check_files(master.cuts())


def test_a_changed_manifest_is_refused(master: Master) -> None:
    path = master.path / "cut=4" / "manifest.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"records": 1', '"records": 2'), encoding="utf-8")
    with pytest.raises(MasterRefused, match="cut=9: expected it to continue after seq 4 with manifest"):
        master.cuts()


def test_a_manifest_that_is_no_json_is_refused(master: Master) -> None:
    (master.path / "cut=9" / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(MasterRefused, match=r"cut=9/manifest.json: expected a manifest, got"):
        master.cuts()


def test_a_cut_that_the_ledger_does_not_know_is_refused(master: Master) -> None:
    row = LedgerRow(9, "micro", 1, "w", Range({("t", 0): 4}, {("t", 0): 9}))
    master.check_ledger(master.cuts()[-1], row)
    with pytest.raises(
        MasterRefused, match=r"cut=9: expected to end at \{'t:0': 8\} like ledger seq 9, got \{'t:0': 9\}"
    ):
        master.check_ledger(master.cuts()[-1], replace(row, range=Range({("t", 0): 4}, {("t", 0): 8})))


# ---- durable files -----------------------------------------------------------------------------------------------


def test_a_rename_never_replaces(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("old")
    made = durable.stage(tmp_path, "new")
    with pytest.raises(FileExistsError, match="there: expected a name not yet taken"):
        durable.rename_new(made, tmp_path / "there")
    assert (tmp_path / "there" / "file").read_text() == "old"


def test_json_is_written_whole_and_once(tmp_path: Path) -> None:
    durable.write_new(tmp_path / "sub" / "a.json", {"a": 1})
    with pytest.raises(FileExistsError):
        durable.write_new(tmp_path / "sub" / "a.json", {"a": 2})
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "sub" / "a.json").read_text()) == {"a": 1}


def test_what_a_killed_run_left_aside_is_cleared(tmp_path: Path) -> None:
    (durable.stage(tmp_path, "x") / "file").write_text("half")
    assert (durable.clear_stages(tmp_path), list(tmp_path.iterdir())) == (1, [])


def test_sums_vouch_for_rows() -> None:
    view: View = {(0, ("oslo",)): State(2, 2**64 - 1, ()), (1, ("oslo",)): State(1, 3, ())}
    assert sums_of(view) == Sums(3, 2, 2, sums_of(dict(reversed(view.items()))).digest)

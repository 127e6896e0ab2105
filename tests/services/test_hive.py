"""Hive on a real HiveServer2: the catalogue, and generations read back digit by digit."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from braid import hiveql
from braid.adapters.files import ROWS, FileGenerations, Manifest
from braid.adapters.hive import Hive, HiveCatalogue, HiveGenerations, connect
from braid.declaration import Declaration
from braid.errors import StoreUnavailable
from braid.generations import Audited, audit_text
from braid.ledger import Current
from braid.settings import Settings
from braid.views import View
from tests.contracts import BY_CITY, BY_MINUTE, DECLARATION, CatalogueContract, GenerationsContract, Published

SPECS = {v.name: v for v in DECLARATION.views}


@pytest.fixture(scope="module")
def hive(stack: Settings) -> Iterator[Hive]:
    with connect(stack) as connection:
        yield connection


@pytest.fixture
def dataset(hive: Hive) -> Iterator[Declaration]:
    """A database of its own."""
    found = replace(DECLARATION, dataset=f"contract_{uuid.uuid4().hex[:8]}")
    yield found
    hive.rows(f"DROP DATABASE IF EXISTS {found.dataset} CASCADE", "cleaning up")


@pytest.fixture
def catalogue(hive: Hive, dataset: Declaration) -> HiveCatalogue:
    return HiveCatalogue(hive, dataset)


@pytest.fixture
def files(tmp_path: Path, dataset: Declaration) -> FileGenerations:
    return FileGenerations(tmp_path / "it's a warehouse", dataset)


@pytest.fixture
def published(files: FileGenerations, catalogue: HiveCatalogue) -> Published:
    def publish(gen: int, views: dict[str, View]) -> Current:
        cut = {("contract-rides", 0): gen}
        made = files.write(Manifest(files.dataset, gen, gen - 1, gen, cut, DECLARATION.hash, (), {}), SPECS, views)
        for name, held in made.views.items():
            parts = {part: files.location(p) for part, p in held.parts.items()}
            catalogue.register(gen, SPECS[name], files.view_location(SPECS[name]), parts)
            catalogue.serve(gen, gen, SPECS[name])
        audit = audit_text({name: v.sums for name, v in made.views.items()}, Audited())
        return Current(gen, gen, cut, DECLARATION.hash, audit)

    return publish


class TestHiveCatalogue(CatalogueContract):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Callable[[str], str]:
        def make(name: str) -> str:
            (tmp_path / name).mkdir(exist_ok=True)
            return f"file://{tmp_path / name}"

        return make


class TestHiveGenerations(GenerationsContract):
    @pytest.fixture
    def generations(
        self, hive: Hive, dataset: Declaration, catalogue: HiveCatalogue, files: FileGenerations
    ) -> HiveGenerations:
        for spec in DECLARATION.views:
            catalogue.register(0, spec, files.view_location(spec), {})
        return HiveGenerations(hive, dataset)

    @pytest.fixture
    def damage(self, files: FileGenerations) -> Callable[[int], object]:
        def change(gen: int) -> None:
            views = {BY_CITY.name: {place: replace(s, fp=s.fp - 1) for place, s in self.VIEWS[BY_CITY.name].items()}}
            other = FileGenerations(files.root / "other", replace(DECLARATION, dataset=files.dataset))
            made = other.write(Manifest(files.dataset, gen, 0, gen, {}, "", (), {}), SPECS, views)
            for part in made.views[BY_CITY.name].parts.values():
                Path(other.root / part.path / ROWS).replace(files.root / part.path / ROWS)

        return change


def test_people_query_finished_numbers_by_the_plain_name(
    hive: Hive, dataset: Declaration, published: Published
) -> None:
    published(1, {BY_MINUTE.name: {}, BY_CITY.name: {}})
    published(2, GenerationsContract.VIEWS)
    found = hive.rows(f"SELECT * FROM {dataset.dataset}.{BY_MINUTE.name} ORDER BY window_start", "reading")
    assert [str(row[0]) for row in found] == ["1970-01-01 00:00:00", "1970-01-01 00:01:00"]
    # city, vendor, n, then of the fare its n, sum, mean, stddev, min and max at scale 2
    edge = 29_999_999.99
    assert found[0][1:10] == ("oslo", "a", 2, 2, 0.0, 0.0, 42426406.85705072, -edge, edge)
    assert found[1][1:4] == ("ø é 日本", "it's", 10**12)


def test_a_session_that_read_before_sees_the_next_generation(
    stack: Settings, hive: Hive, dataset: Declaration, published: Published
) -> None:
    with connect(stack) as serving:
        generations = HiveGenerations(serving, dataset)
        for gen, view in ((1, {}), (2, GenerationsContract.VIEWS[BY_CITY.name]), (3, {})):
            assert generations.view(published(gen, {BY_CITY.name: view}), BY_CITY) == view
            count = f"SELECT count(*) FROM {dataset.dataset}.{BY_CITY.name}"
            assert serving.rows(count, "counting") == [(len(view),)]


def test_a_table_of_another_declaration_is_refused(
    hive: Hive, dataset: Declaration, published: Published, files: FileGenerations
) -> None:
    published(1, {BY_CITY.name: {}})
    other = HiveCatalogue(hive, dataset)
    changed = replace(BY_CITY, by=("town",))
    with pytest.raises(
        StoreUnavailable, match=r"expected the columns .*'town'.*, got .*'city'.*; it was made for another declaration"
    ):
        other.register(2, changed, files.view_location(changed), {})


def test_a_wrong_statement_is_answered_in_one_line(hive: Hive) -> None:
    with pytest.raises(
        StoreUnavailable, match=r"^Hive at 127.0.0.1:\d+: reading nothing: .*TABLE_OR_VIEW_NOT_FOUND"
    ) as failed:
        hive.rows("SELECT * FROM nowhere.nothing", "reading nothing")
    assert "\n" not in str(failed.value)
    hive.ping()


def test_nobody_listening_is_named() -> None:
    with pytest.raises(StoreUnavailable, match=r"^Hive at 127.0.0.1:1: a sign of life: .*; is it up\? `braid status`$"):
        Hive("127.0.0.1", 1).ping()


def test_an_unchanged_part_is_registered_where_it_lies(hive: Hive, dataset: Declaration, published: Published) -> None:
    published(1, GenerationsContract.VIEWS)
    published(2, GenerationsContract.VIEWS)
    found = hive.rows(
        f"SELECT DISTINCT gen, regexp_extract(input_file_name(), 'gen=([0-9]+)', 1) FROM {hiveql.of(dataset.dataset, BY_CITY)} ORDER BY gen",
        "reading",
    )
    assert found == [(1, "1"), (2, "1")]

"""`braid generations` and `braid rollback` on a real Cassandra and HiveServer2; a generation is published by the batch layer's own code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from braid import cql
from braid.adapters.hive import HiveCatalogue, HiveGenerations
from braid.declaration_reader import load
from braid.ledger import Current
from braid.settings import Settings
from braid.views import fold
from tests.services.seed import Seeded, patches
from tests.stack_fixture import names

REPOSITORY = Path(__file__).parents[2]


@dataclass
class Published:
    """A dataset with generations 1, 2 and 3 and a micro-batch after them."""

    seeded: Seeded
    current: list[Current]

    @property
    def name(self) -> str:
        return self.seeded.declaration.dataset

    def braid(self, *words: str, status: int = 0) -> str:
        settings = self.seeded.settings
        environ = names(
            BRAID_HOME=str(settings.home), BRAID_ROOT=str(settings.root), PYTHONPATH=str(REPOSITORY / "src")
        )
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *words], env=environ, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if status == 0 else done.stderr

    def selected(self) -> set[int | None]:
        """Return the generations that Hive's plain names select."""
        catalogue = HiveCatalogue(self.seeded.hive, self.seeded.declaration)
        return {catalogue.served(spec) for spec in self.seeded.declaration.views}


@pytest.fixture
def published(stack: Settings, tmp_path: Path) -> Iterator[Published]:
    name = f"back_{uuid.uuid4().hex[:8]}"
    (tmp_path / "datasets").mkdir()
    (tmp_path / "data").symlink_to(REPOSITORY / "data")
    path = tmp_path / "datasets" / f"{name}.yaml"
    text = (REPOSITORY / "datasets" / "landcover.yaml").read_text("utf-8")
    path.write_text(text.replace("dataset: landcover", f"dataset: {name}").replace("image-events", name), "utf-8")
    seeded = Seeded(replace(stack, root=tmp_path), load(path))
    try:
        seeded.genesis()
        held = Published(seeded, [])
        events = patches(REPOSITORY / "data", 80)
        for start in (0, 20, 40):
            seeded.commit(events[start : start + 20])
            held.current.append(seeded.publish())
        seeded.commit(events[60:])
        yield held
    finally:
        seeded.close()
        for folder in ("warehouse/views", "batch"):
            shutil.rmtree(stack.home / folder / name, ignore_errors=True)


def test_generations_are_listed_and_an_older_one_is_served_again(published: Published) -> None:
    found = json.loads(published.braid("generations", published.name, "--json"))
    assert [(g["generation"], g["state"], g["cut_seq"], g["records"]) for g in found["generations"]] == [
        (1, "kept", 1, 20), (2, "kept", 2, 40), (3, "served", 3, 60),
    ]  # fmt: skip
    shown = published.braid("generations", published.name, "--show", "2")
    assert f"{published.name}: generation 2, kept" in shown
    assert json.loads(published.current[1].audit)["views"]["landcover_aggregates"]["digest"][:16] in shown.replace(
        "\n", ""
    )
    assert "expected one of 1, 2, 3, got 9" in published.braid("generations", published.name, "--show", "9", status=2)

    told = json.loads(published.braid("rollback", published.name, "--json"))
    assert (told["from"], told["to"], told["cut_seq"]) == (3, 2, 2)
    current = published.seeded.stores.ledger.current()
    assert current == published.current[1]
    assert published.selected() == {2}
    stored = HiveGenerations(published.seeded.hive, published.seeded.declaration)
    for spec in published.seeded.declaration.views:
        assert stored.view(current, spec) == fold(spec, published.seeded.events[:40])
    assert published.seeded.publish().gen == 4
    assert published.selected() == {4}


def test_a_rollback_over_fragments_that_are_gone_is_refused_by_view_and_seq(published: Published) -> None:
    declaration = published.seeded.declaration
    table = cql.fragments(declaration, declaration.fragment_views[0])
    published.seeded.cassandra._session.define(f"TRUNCATE {table.path}")
    told = published.braid("rollback", published.name, status=1)
    assert (
        f"generation 2 (cut at seq 2): expected to answer what came after it from fragments, but ledger seq 3 has not all its fragments of {declaration.fragment_views[0].name}"
        in told
    )
    assert published.seeded.stores.ledger.current() == published.current[2]
    assert published.selected() == {3}

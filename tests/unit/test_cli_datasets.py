"""The datasets' table of `braid status`: what stands in its cells."""

import pytest

from braid.adapters import environment
from cli import datasets


@pytest.fixture
def settings(tmp_path):
    return environment.load({"BRAID_HOME": str(tmp_path)})


def record(settings, name: str, text: str) -> None:
    folder = settings.home / "batch" / "landcover"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


def cell(settings) -> str:
    found = {"dataset": "landcover", "batch": datasets._batch(settings, "landcover")}
    return datasets.row(found)[datasets.COLUMNS.index("next batch")]


def test_a_dataset_without_a_schedule_says_so(settings):
    assert cell(settings) == "not scheduled"


def test_the_next_run_and_a_failed_last_one_are_shown(settings):
    record(settings, "schedule.json", '{"next_us": 1760000600000000}')
    record(settings, "last.json", '{"started_us": 1760000000000000, "steps": {}}')
    assert cell(settings) == "2025-10-09T09:03:20Z"
    record(settings, "last.json", '{"started_us": 1760000000000000, "error": "Hive does not answer"}')
    assert cell(settings) == "last run failed; 2025-10-09T09:03:20Z"


def test_every_cell_has_a_column(settings):
    assert len(datasets.row({"dataset": "landcover", "problems": ["nobody answers"]})) == len(datasets.COLUMNS)

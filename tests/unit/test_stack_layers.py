"""What `braid up` runs for some datasets: another one makes the API another program, which is then started anew."""

from pathlib import Path

import pytest

from braid.adapters.environment import load
from braid.settings import Settings
from stack.layers import layers


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return load({"BRAID_HOME": str(tmp_path / "home"), "BRAID_PORTS": "standard"})


def test_a_dataset_has_a_stream_and_a_schedule_and_the_api_is_one(here: Settings) -> None:
    assert [p.name for p in layers(here, ["a", "b"])] == ["speed-a", "speed-b", "api", "batch-a", "batch-b"]


def test_a_new_dataset_changes_the_api_and_no_other_program(here: Settings) -> None:
    # what the supervisor compares: the command and its variables (stack.conf)
    def launched(datasets: list[str]) -> dict[str, object]:
        return {p.name: (p.argv, p.environment(here)) for p in layers(here, datasets)}

    before, after = launched(["a"]), launched(["a", "b"])
    assert {name for name in before if before[name] != after[name]} == {"api"}
    assert launched(["a"]) == before


def test_streams_that_start_together_are_waited_for_longer(here: Settings) -> None:
    def waits(datasets: list[str]) -> set[float]:
        return {p.ready_timeout_s for p in layers(here, datasets) if p.name.startswith("speed-")}

    assert waits(["a"]) == {120.0}
    assert waits(["a", "b", "c", "d", "e"]) == {360.0}

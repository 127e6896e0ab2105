"""Guards that stand in Cassandra's adapter: taken out of the source, the contract on the real store fails."""

from pathlib import Path

import pytest

from braid.settings import Settings
from tests.guards import GUARDS, Guard, fails_without


@pytest.mark.parametrize("guard", [g for g in GUARDS if g.needs_stack], ids=lambda g: g.name.partition(":")[0])
def test_the_contract_on_the_real_store_fails_without(guard: Guard, stack: Settings, tmp_path: Path) -> None:
    assert "failed" in fails_without(guard, tmp_path / "tree", stack.home)

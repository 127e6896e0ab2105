"""What the tests on the real stack share: the long suites that take turns (`turns`)."""

import pytest

from tests.services.turns import TURNS, taken, turn_of


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    turn = taken(config.args)
    out = [item for item in items if turn is not None and turn_of(item) not in {None, turn}]
    if out:
        items[:] = [item for item in items if item not in out]
        config.hook.pytest_deselected(items=out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if turn := taken(config.args):
        others = ", ".join(other for other in TURNS if other != turn)
        terminalreporter.write_line(f"this commit's turn: {turn}; not {others}; BRAID_TURNS=all runs them all")

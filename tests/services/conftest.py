"""What the tests on the real stack share: the long suites that take turns (`turns`)."""

import pytest

from tests.services.turns import left_out


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    out = left_out(config.args)
    passed = [item for item in items if item.path.name in out]
    if passed:
        items[:] = [item for item in items if item.path.name not in out]
        config.hook.pytest_deselected(items=passed)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if out := left_out(config.args):
        terminalreporter.write_line(f"not this commit's turn: {', '.join(out)}; BRAID_TURNS=all runs every suite")

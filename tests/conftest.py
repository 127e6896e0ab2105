"""What all test folders share: failing laws and contracts print the values they compared; the real stack is `stack`."""

import signal
from collections.abc import Generator

import pytest
from hypothesis import settings

# no deadline: other processes share the cores; a failing example is printed so that it can be repeated
settings.register_profile("braid", deadline=None, print_blob=True)
settings.load_profile("braid")

pytest.register_assert_rewrite("tests.laws", "tests.contracts")

from tests.stack_fixture import stack  # noqa: E402, F401  # after the line above, which must come before any import

# a shell's background job ignores Ctrl-C, and so would every process that is to be interrupted here
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_LOG_LINES = 60


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failure on the real stack what its programs wrote last: the files are gone when somebody reads it."""
    report = yield
    running = getattr(item, "funcargs", {}).get("stack")
    if report.failed and running is not None:
        for log in sorted(running.logs.glob("*.log")):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
            report.sections.append((log.name, "\n".join(lines)))
    return report


# cheap and telling first; the real stack is started only when the tests that need nothing have passed
_ORDER = ("src", "unit", "model", "spark", "services", "browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the folders in the order of what they need."""

    def place(item: pytest.Item) -> int:
        parts = item.path.relative_to(item.config.rootpath).parts
        return _ORDER.index(parts[1] if parts[0] == "tests" and parts[1] in _ORDER else "src")

    items.sort(key=place)

"""The real stack, once per test run: a BRAID_HOME of its own below pytest's folder, free ports, the shared jar cache.

A missing prerequisite is an error here, never a skip. Set TEST_STACK to the home of a running stack to use that
one while developing: it is neither started nor stopped then.
"""

import os
from collections.abc import Iterator

import pytest

from braid.adapters.environment import load
from braid.settings import Settings
from stack.up import down, up


def names(**more: str) -> dict[str, str]:
    """Return the environment without any BRAID_* name but the cache and the repository, then with `more`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("BRAID_") or k in {"BRAID_CACHE", "BRAID_MAVEN"}}
    return kept | more


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Yield the settings of a running Kafka, Cassandra and HiveServer2; they are stopped at the end of the run."""
    running = os.environ.get("TEST_STACK")
    if running:
        yield load(names(BRAID_HOME=running))
        return
    home = tmp_path_factory.mktemp("stack") / "home"
    settings = load(names(BRAID_HOME=str(home), BRAID_PORTS="free"))
    try:
        yield up(settings, say=print)
    finally:
        down(settings)

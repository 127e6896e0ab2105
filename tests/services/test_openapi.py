"""The API as it runs is what /openapi.json says of it: thousands of generated requests, in all phases, with keys asked for.

Schemathesis reads the document alone. Its check `positive_data_acceptance` is left out: a schema cannot say that `from` is
not after `to`, that a window nests, or that an alert exists, so valid words may well be a 400 or a 404.
Set OPENAPI_SECONDS for a longer run.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from braid.adapters.keys import KeyFile
from braid.declaration_reader import parse
from braid.settings import LOOPBACK, Settings
from tests.services.api import CHECKOUT, Api, landcover_as, running_api
from tests.services.seed import Seeded, patches

SECONDS = int(os.environ.get("OPENAPI_SECONDS", "20"))
LEAST = 5000 if SECONDS >= 600 else 500  # generated cases, on a machine that is busy with other things


@pytest.fixture(scope="module")
def served(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, str]]:
    """Yield an API with a generation, a tail and alerts, and an admin's key."""
    name, folder = f"fuzz{os.getpid()}", tmp_path_factory.mktemp("fuzz")
    text = landcover_as(name)
    seeded = Seeded(stack, parse(text, name))
    _, token = KeyFile(folder / "home" / "keys" / "api.json").create("fuzz", "admin", 1)
    try:
        seeded.genesis()
        events = patches(CHECKOUT / "data", 600)
        for start in range(0, 600, 50):
            batch = events[start : start + 50]
            seeded.commit(batch, [seeded.alert(batch[0], start)])
            if start == 300:
                seeded.publish()
        flags = ("--require-keys", "--rate", "100000")
        with running_api(stack, folder, {name: text}, flags) as api:
            api.until("a generation is loaded", lambda: b'"ready":true' in ready(api))
            yield api, token
    finally:
        seeded.close()


def ready(api: Api) -> bytes:
    """Return what the probe says; it asks for no key."""
    return json.dumps(api.get("/readyz"), separators=(",", ":")).encode()


def test_no_generated_request_finds_a_difference(served: tuple[Api, str], tmp_path: Path) -> None:
    api, token = served
    report = tmp_path / "report.json"
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")), "run",
            f"http://{LOOPBACK}:{api.settings.ports.api}/openapi.json",
            "--header", f"Authorization: Bearer {token}", "--exclude-checks", "positive_data_acceptance",
            "--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "1000000", "--max-time", str(SECONDS),
            "--continue-on-failure", "--no-color", "--report-json-path", str(report),
        ],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=SECONDS + 300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    generated = int(done.stdout.split("Test cases:")[1].split()[0].replace(",", ""))
    assert generated >= LEAST, done.stdout[-3000:]
    assert api.process.poll() is None
    lines = map(json.loads, api.log.read_text("utf-8").splitlines())
    # of ours: a driver may well lose a store for a moment
    assert not [line for line in lines if line["level"] == "error" and line["logger"].startswith("braid")]

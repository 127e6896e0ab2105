"""Braid's own programs beside the services: per dataset a stream and a batch schedule, and the API over all of them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from braid.adapters import heartbeat
from braid.errors import NotReady
from braid.settings import LOOPBACK, Settings
from stack.programs import Program

_SPEED_ORDER, _API_ORDER, _BATCH_ORDER = 10, 20, 30  # the services come before them, at 0
_ASK_S = 5.0
_LOAD_S = 600.0  # the largest generation may take minutes to read
_START_S = 60.0  # streams start together: each more makes all of them wait for the cores


def layers(settings: Settings, datasets: Sequence[str]) -> list[Program]:
    """Return the programs of some datasets and the API, to be started after the services.

    Parameters
    ----------
    datasets : names of declarations under datasets/
    """
    streams = [_speed(settings, name, len(datasets)) for name in datasets]
    schedules = [_batch(settings, name) for name in datasets]
    return [*streams, _api(settings, datasets), *schedules]


def _python(settings: Settings, file: str, *arguments: str) -> tuple[str, ...]:
    return (str(settings.python), str(settings.root / "src" / file), *arguments)


def _env(settings: Settings) -> dict[str, str]:
    """Return what our own programs need beside BRAID_HOME: the services do not ask which checkout declares what."""
    return {"BRAID_ROOT": str(settings.root), **settings.spark_env()}


def _speed(settings: Settings, dataset: str, together: int) -> Program:
    """Return the stream of a dataset, one of so many that are started together."""
    name = f"speed-{dataset}"
    return Program(
        name=name,
        argv=_python(settings, "speed_layer/spark_streaming.py", "--dataset", dataset),
        env=_env(settings),
        order=_SPEED_ORDER,
        prepare=partial(_forget, settings, name),
        ready=_says(settings, name, "streaming"),
        ready_timeout_s=_START_S * (1 + together),
        heartbeat=settings.heartbeat(name),
        heap_mb=settings.heaps.speed,
        stopwaitsecs=60,
    )


def _batch(settings: Settings, dataset: str) -> Program:
    name = f"batch-{dataset}"
    return Program(
        name=name,
        argv=_python(settings, "batch_layer/spark_batch.py", "--dataset", dataset, "--every"),
        env=_env(settings),
        order=_BATCH_ORDER,
        heap_mb=settings.heaps.batch,
        stopwaitsecs=60,
    )


def _api(settings: Settings, datasets: Sequence[str]) -> Program:
    return Program(
        name="api",
        argv=_python(settings, "serving/app.py"),
        # it reads them itself; with another list it is another program, which `up` starts anew
        env=_env(settings) | {"SERVED_DATASETS": ",".join(datasets)},
        ports={"api": settings.ports.api, "dashboard": settings.ports.dashboard},
        order=_API_ORDER,
        ready=partial(_answers, settings),
        ready_timeout_s=_LOAD_S,
    )


def _forget(settings: Settings, name: str) -> None:
    settings.heartbeat(name).unlink(missing_ok=True)


def _says(settings: Settings, name: str, wanted: str) -> Callable[[], None]:
    """Return a question to a job's heartbeat: any stage of its stream will do; `starting`, `waiting`, `refused` will not."""

    def ask() -> None:
        said = heartbeat.stage(settings.heartbeat(name))
        if said is None or said.startswith(("starting", "waiting", heartbeat.REFUSED)):
            raise NotReady(f"{name}: expected it to be {wanted}, it says {said or 'nothing'}")

    return ask


def _answers(settings: Settings) -> None:
    """Ask the API what it can answer: once `up` is done, no request is told that its dataset is still being loaded.

    What stands in a dataset's way for longer (a store that is silent, a generation that cannot be read) is the answers' to
    tell, and `up` does not wait for it.
    """
    url = f"http://{LOOPBACK}:{settings.ports.api}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=_ASK_S) as answer:
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        found = _told(url, error)
    except (OSError, ValueError) as error:
        raise NotReady(f"api at {url}: {error}") from error
    loading = [name for name, dataset in found["datasets"].items() if dataset["loading"]]
    if loading:
        raise NotReady(f"api at {url}: still loading {', '.join(loading)}")


def _told(url: str, error: urllib.error.HTTPError) -> dict[str, Any]:
    """Return what the API says of its parts when one of them is silent (503). Raises NotReady."""
    found: dict[str, Any] = {}
    with error, suppress(OSError, ValueError):
        found = json.load(error)
    if "datasets" not in found:
        raise NotReady(f"api at {url}: answers {error.code}") from error
    return found

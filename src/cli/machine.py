"""The commands about this machine: setup, up, down, logs, doctor, clean."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braid.errors import HomeUnusable, UsageError
from cli.output import Json, progress, show, show_json, show_table

if TYPE_CHECKING:
    from braid.settings import Settings
    from stack.up import Started


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (setup, up, down, logs, doctor, clean):
        app.command()(command)


def setup() -> None:
    """Fetch and verify the jars, and write what a bare spark-submit needs."""
    from braid.adapters.environment import load
    from stack import archive, bare, jars

    settings = load()
    jars.ensure(settings, progress)
    folder = bare.configure(settings)
    archive.ensure(settings, progress)
    progress(f"ready: jars in {settings.cache / 'jars'}, Spark's defaults in {folder}")


def up(
    datasets: Annotated[
        list[str] | None, typer.Argument(help="Datasets to start beside those that run always; remembered.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Start Kafka, Cassandra, HiveServer2 and the datasets' layers, and wait until each has answered. Safe to run twice."""
    from braid.adapters.chosen import remember
    from braid.adapters.environment import load
    from cli.programs import programs
    from stack import up as stack

    found: list[Started] = []

    def report(started: "Started") -> None:
        found.append(started)
        if not as_json:
            show(_line(started))

    settings = load()
    remember(settings, datasets or [])
    settings = stack.up(settings, programs, progress, report)
    if as_json:
        show_json({"home": settings.home, "ports": settings.ports.as_dict(), "started": [_words(one) for one in found]})


def down(as_json: Json = False) -> None:
    """Stop everything this instance runs, and wait until it has ended. Safe to run twice."""
    from braid.adapters.environment import load
    from stack import up as stack

    ran = stack.down(load(), progress)
    if as_json:
        show_json({"stopped": ran})
    else:
        progress("stopped; nothing is left running" if ran else "nothing was running")


def logs(
    name: Annotated[str, typer.Argument(help="A program, as `braid status` names it.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
) -> None:
    """Print the log of a program; without NAME, the names there are."""
    from braid.adapters.environment import load
    from cli.follow import print_log

    settings = load()
    names = sorted(path.stem for path in settings.logs.glob("*.log"))
    if not name:
        for known in names:
            show(known)
        return
    if name not in names:
        raise UsageError(f"logs: {settings.logs}: expected one of {', '.join(names) or 'none yet'}, got {name!r}")
    print_log(settings.logs / f"{name}.log", lines, sys.stdout, follow)


def doctor(
    as_json: Json = False,
    tests: Annotated[bool, typer.Option("--tests", help="Check what `make test` needs instead.")] = False,
) -> None:
    """Check everything Braid needs here, and say what to do about what is missing."""
    from braid.adapters.environment import load
    from stack.doctor import examine, examine_for_tests

    checks = list((examine_for_tests if tests else examine)(load()))
    if as_json:
        show_json([check.as_dict() for check in checks])
    else:
        show_table("", ["check", "", "detail"], [[check.name, check.verdict, check.detail] for check in checks])
    if any(check.verdict == "fail" for check in checks):
        raise typer.Exit(1)


def clean(yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Stop everything and remove BRAID_HOME with all its data. The cache of jars stays."""
    from braid.adapters.environment import load
    from stack import up as stack

    settings = load()
    if not settings.home.exists():
        progress(f"{settings.home}: nothing to remove")
        return
    _refuse_foreign(settings)
    if not yes:
        _ask(settings.home)
    stack.down(settings, progress)
    shutil.rmtree(settings.home)
    progress(f"removed {settings.home}")


def _refuse_foreign(settings: "Settings") -> None:
    """Raise unless the folder is one that `braid up` made: a mistyped BRAID_HOME must not cost anybody's files."""
    from stack.home import FOLDERS

    ours = {folder.split("/")[0] for folder in FOLDERS}
    others = sorted(path.name for path in settings.home.iterdir() if path.name not in ours)
    if others or not (settings.home / "run").is_dir():
        what = f"holds {others[0]}" if others else "has no run/"
        raise HomeUnusable(f"clean: {settings.home} {what}, so it is not only Braid's; remove it by hand")


def _ask(folder: Path) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"clean: removes {folder}; confirm with --yes")
    if not typer.confirm(f"Remove {folder} and everything in it?"):
        raise typer.Exit(1)


def _line(started: "Started") -> str:
    ports = ", ".join(f"127.0.0.1:{port}" for port in started.ports)
    when = "already running" if started.ran_before else f"ready in {started.seconds:.1f} s"
    return f"{started.name:<12} {ports:<32} {when}"


def _words(started: "Started") -> dict[str, object]:
    return {
        "name": started.name,
        "ports": started.ports,
        "seconds": round(started.seconds, 2),
        "ran_before": started.ran_before,
    }

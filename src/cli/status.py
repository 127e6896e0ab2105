"""`braid status`: what runs, and what each dataset holds. A section is data for scripts and a table for people."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from cli.output import Json, show, show_json, show_table

if TYPE_CHECKING:
    from braid.settings import Settings


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the answer.

    Attributes
    ----------
    name : its key in JSON
    data : what a script reads
    columns, rows : what a person reads
    notes : lines below the table: why something is down
    well : False makes the command exit 1
    """

    name: str
    data: object
    columns: list[str]
    rows: list[list[str]]
    notes: tuple[str, ...] = ()
    well: bool = True


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(status)


def status(as_json: Json = False) -> None:
    """Show what runs, with ports and memory, and what each dataset holds. Exits 1 when something is down."""
    from braid.adapters.environment import load

    settings = load()
    found = [section(settings) for section in SECTIONS]
    if as_json:
        show_json({"home": settings.home} | {section.name: section.data for section in found})
    else:
        for section in found:
            show_table(section.name, section.columns, section.rows)
            for note in section.notes:
                show(note)
    if not all(section.well for section in found):
        raise typer.Exit(1)


def services(settings: "Settings") -> Section:
    """Return what supervisor says of each program."""
    from cli.programs import programs
    from stack.status import statuses

    found = statuses(settings, programs(settings))
    return Section(
        name="services",
        data=[one.as_dict() for one in found],
        columns=["name", "state", "ports", "pid", "up", "memory"],
        rows=[
            [one.name, one.state, _ports(one.ports), str(one.pid or ""), _age(one.uptime_s), _memory(one.memory_mb)]
            for one in found
        ],
        notes=tuple(f"{one.name}: {one.detail}" for one in found if one.detail),
        well=all(one.state == "RUNNING" for one in found),
    )


def datasets(settings: "Settings") -> Section:
    """Return how far each dataset has come; one that nothing can be asked of is not well."""
    from cli.datasets import COLUMNS, facts, row

    found = facts(settings)
    return Section(
        name="datasets",
        data=found,
        columns=COLUMNS,
        rows=[row(one) for one in found],
        notes=tuple(f"{one['dataset']}: {problem}" for one in found for problem in one["problems"]),
        well=not any(one["problems"] for one in found),
    )


# a further section is one more function of the settings
SECTIONS: list[Callable[["Settings"], Section]] = [services, datasets]


def _ports(ports: dict[str, int]) -> str:
    return " ".join(f"{name} {number}" for name, number in ports.items())


def _age(seconds: int) -> str:
    if not seconds:
        return ""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _memory(mb: int) -> str:
    return f"{mb} MB" if mb else ""

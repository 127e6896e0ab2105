"""How commands speak: data on stdout, progress on stderr; JSON where a script reads; colour only on a terminal."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]

# rich obeys NO_COLOR and drops colours when it is not on a terminal
STYLES = {"ok": "green", "RUNNING": "green", "warn": "yellow", "STARTING": "yellow", "BACKOFF": "yellow"}
BAD = ("fail", "FATAL", "DOWN", "LOST", "EXITED", "STOPPED")


def progress(text: str) -> None:
    """Print a line of progress on stderr."""
    # whole lines, so that a log file of them reads as well as a terminal
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(text)


def show(text: str) -> None:
    """Print a line of data on stdout."""
    Console(highlight=False, markup=False, soft_wrap=True).print(text)


def show_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print rows as a table; a cell that is a state gets its colour."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(cell) for cell in row))
    Console(highlight=False).print(table)


def show_json(data: object) -> None:
    """Print data as JSON."""
    print(json.dumps(data, indent=2, default=str))  # noqa: T201  # this is what a script reads


def _cell(text: str) -> str:
    style = STYLES.get(text) or ("red" if text in BAD else "")
    escaped = text.replace("[", "\\[")
    return f"[{style}]{escaped}[/{style}]" if style else escaped

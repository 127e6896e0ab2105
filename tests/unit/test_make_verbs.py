"""The verbs of the Makefile are thin: each is one `braid` command that there is, with the words that were given."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import typer

from cli.main import build

ROOT = Path(__file__).parents[2]
STAMP = ".venv/.installed"  # taken as made, so that only the verb's own line is left


def made(*words: str) -> list[str]:
    """Return the lines that make would run."""
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "-o", STAMP, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def commands() -> dict[str, object]:
    return dict(typer.main.get_command(build()).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("install", ".venv/bin/braid setup"),
        ("up", ".venv/bin/braid up"),
        ("status ARGS=--json", ".venv/bin/braid status --json"),
        ("logs NAME=speed-x ARGS=-f", ".venv/bin/braid logs speed-x -f"),
        ("generate-historical DATASET=x", ".venv/bin/braid produce x --limit all --rate 3000"),
        ("run-producer DATASET=x RATE=7", ".venv/bin/braid produce x --synthetic --rate 7"),
        ("run-producer DATASET=x", ".venv/bin/braid produce x --synthetic --rate 100"),
        ("run-streaming DATASET=x", ".venv/bin/braid stream x"),
        ("run-batch DATASET=x ARGS=--force", ".venv/bin/braid batch x --force"),
        ("run-batch", ".venv/bin/braid batch landcover"),
        ("bench ONLY=api,batch QUICK=1", ".venv/bin/python -m bench --only api,batch --quick"),
        ("bench", ".venv/bin/python -m bench"),
        ("profile", ".venv/bin/python -m bench --only profile"),
        ("test-scalability DATASET=x ARGS=--json", ".venv/bin/python -m bench.scalability --dataset x --json"),
    ],
)
def test_a_verb_is_one_command(words: str, line: str) -> None:
    last = made(*words.split())[-1].split()
    assert " ".join(last) == line
    if last[0].endswith("/braid"):
        assert last[1] in commands()


def test_clean_asks_like_the_command() -> None:
    (line,) = made("clean")
    assert ".venv/bin/braid clean;" in line


def test_help_shows_every_verb() -> None:
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = {line.split()[1]: line for line in told.splitlines()}
    verbs = ("install", "generate-historical", "run-producer", "run-streaming", "run-batch", "test-scalability")
    for verb in (*verbs, "up", "status", "logs", "clean"):
        assert lines[verb].index(lines[verb].split()[2]) == 28  # in its column

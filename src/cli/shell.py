"""`braid shell`: look into a store by hand. Hive has beeline, which pyspark carries; the other two get a small prompt.

A prompt reads commands from a terminal, from `-e COMMAND`, or from a pipe: `echo 'SELECT …;' | braid shell cassandra`.
"""

import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from braid.errors import BraidError, UsageError
from cli.output import progress, show, show_table

if TYPE_CHECKING:
    from braid.settings import Settings

Execute = Callable[[str], None]
KAFKA_HELP = "topics | read TOPIC [HOW MANY] | send TOPIC TEXT"


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(shell)


def shell(
    store: Annotated[str, typer.Argument(help="cassandra, hive or kafka")],
    execute: Annotated[str, typer.Option("--execute", "-e", help="Run this and end.")] = "",
) -> None:
    """Open a prompt on a store."""
    from braid.adapters.environment import load

    if store not in SHELLS:
        raise UsageError(f"shell: expected one of {', '.join(SHELLS)}, got {store!r}")
    SHELLS[store](load(), execute)


def cassandra(settings: "Settings", execute: str) -> None:
    """Prompt for CQL; a statement ends with a semicolon."""
    from braid.adapters.cassandra.session import opened

    session = opened(settings.cassandra_host, settings.cassandra_port)
    try:
        _answer(_statements(_lines("cql> ", execute)), lambda statement: _rows(*session.table(statement)))
    finally:
        session.close()


def kafka(settings: "Settings", execute: str) -> None:
    """Prompt for topics, their newest records, and one record by hand."""
    from braid.adapters.kafka import KafkaLog, newest
    from braid.adapters.kafka_producer import EventProducer

    def run(line: str) -> None:
        verb, _, rest = line.strip().partition(" ")
        topic, _, last = rest.strip().partition(" ")
        if verb == "topics":
            with KafkaLog(settings.kafka_bootstrap) as log:
                ends = log.latest(names) if (names := log.names()) else {}
                begins = log.earliest(names) if names else {}
            rows = [(topic, partition, begins[topic, partition], end) for (topic, partition), end in ends.items()]
            _rows(["topic", "partition", "earliest", "end"], sorted(rows))
        elif verb == "read" and topic:
            records = newest(settings.kafka_bootstrap, topic, int(last) if last.isdecimal() else 10)
            _rows(
                ["partition", "offset", "appended", "value"],
                [(r.partition, r.offset, _utc(r.append_us), _text(r.value)) for r in records],
            )
        elif verb == "send" and topic and last:
            with KafkaLog(settings.kafka_bootstrap) as log:
                if topic not in log.names():  # the client itself would wait a minute for it to appear
                    raise UsageError(f"kafka: expected a topic that exists (`topics` lists them), got {topic!r}")
            with EventProducer(settings.kafka_bootstrap) as producer:
                partition, offset = producer.delivered(topic, None, last.encode())
            show(f"{topic}, partition {partition}, offset {offset}")
        else:
            raise UsageError(f"kafka: expected {KAFKA_HELP}, got {line!r}")

    _answer(_lines("kafka> ", execute), run)


def hive(settings: "Settings", execute: str) -> None:
    """Become beeline on HiveServer2."""
    from braid.adapters.environment import require_java

    url = f"jdbc:hive2://{settings.hive_host}:{settings.hive_port}"
    argv = [
        str(settings.spark_home / "bin" / "beeline"),
        "-u",
        url,
        "-n",
        "braid",
        *(["-e", execute] if execute else []),
    ]
    env = {**os.environ, **settings.spark_env(), "JAVA_HOME": str(require_java(settings))}
    os.execve(argv[0], argv, env)  # noqa: S606  # becoming it keeps its terminal


SHELLS: dict[str, Callable[["Settings", str], None]] = {"cassandra": cassandra, "hive": hive, "kafka": kafka}


def _lines(prompt: str, execute: str) -> Iterator[str]:
    if execute:
        yield execute
    elif sys.stdin.isatty():
        # importing it gives input() its history and editing
        import readline  # noqa: F401

        while True:
            try:
                yield input(prompt)
            except EOFError:
                return
    else:
        yield from sys.stdin


def _statements(lines: Iterator[str]) -> Iterator[str]:
    """Join lines to statements that end with a semicolon; what is left at the end counts as one."""
    held = ""
    for line in lines:
        held = f"{held}\n{line}".strip()
        if held.endswith(";"):
            yield held
            held = ""
    if held:
        yield held


def _answer(commands: Iterator[str], run: Execute) -> None:
    """Run each; on a terminal an error is told and the prompt goes on, in a script it ends the command."""
    for command in commands:
        if not command.strip():
            continue
        try:
            run(command)
        except BraidError as error:
            if not sys.stdin.isatty():
                raise
            progress(str(error))


def _rows(columns: list[str], rows: list[tuple[object, ...]]) -> None:
    if columns:
        show_table("", columns, [["" if cell is None else str(cell) for cell in row] for row in rows])
        show(f"{len(rows)} rows")


def _utc(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(timespec="milliseconds")


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "backslashreplace")

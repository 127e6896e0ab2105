"""`braid`, the command. Each command imports its layer only when it runs: `braid --help` starts no JVM and no client.

A module of commands has `register(app)`; adding one is a line in MODULES.
"""

import sys
from importlib import import_module

import typer

from braid.errors import BraidError

MODULES = (
    "cli.machine",
    "cli.new",
    "cli.check",
    "cli.status",
    "cli.shell",
    "cli.jobs",
    "cli.keys",
    "cli.verify",
    "cli.explain",
    "cli.gaps",
    "cli.generations",
    "cli.apply",
    "cli.load",
    "cli.dead",
    "cli.export",
    "cli.watch",
)


def build() -> typer.Typer:
    """Return the application with every command."""
    app = typer.Typer(
        name="braid",
        help="Batch and speed as one exact answer, on real Kafka, Spark, Cassandra and Hive.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for module in MODULES:
        import_module(module).register(app)
    return app


def main(argv: list[str] | None = None) -> int:
    """Run a command; return 0, 1 when it failed, 2 for a wrong request, 130 when interrupted."""
    try:
        build()(args=argv)
    except BraidError as error:
        print(f"braid: {error}", file=sys.stderr)  # noqa: T201  # the one line a person reads
        return error.exit_code
    except SystemExit as end:
        # typer ends every command so, with its exit status
        return end.code if isinstance(end.code, int) else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())

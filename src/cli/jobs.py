"""The commands that run a layer: produce, stream, batch, serve; and demo, which runs them all once.

A layer's flags are its own: they are handed on as they stand, and `braid stream --help` is the job's own help.
"""

from typing import Annotated, Any

import typer

from cli.output import Json

_HANDED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (produce, stream, batch, serve):
        app.command(context_settings=_HANDED_ON, add_help_option=False)(command)
    app.command()(demo)


def produce(context: typer.Context) -> None:
    """Send a dataset's rows to Kafka, or synthetic events, or its archive once more: `braid produce --help`."""
    from producer.kafka_producer import main

    _end(main(context.args))


def stream(context: typer.Context) -> None:
    """Run the speed layer of a dataset in the foreground."""
    from speed_layer.spark_streaming import main

    _end(main(_named(context.args)))


def batch(context: typer.Context) -> None:
    """Run the batch layer of a dataset: archive, recompute, audit, publish."""
    from batch_layer.spark_batch import main

    _end(main(_named(context.args)))


def serve(context: typer.Context) -> None:
    """Run the API and the dashboard in the foreground."""
    from serving.app import main

    _end(main(context.args))


def demo(
    dataset: Annotated[
        str | None, typer.Argument(help="The dataset to show; by default the first with sample data.")
    ] = None,
    named: Annotated[
        str | None,
        typer.Option("--dataset", help="The same; `all` shows every dataset with sample data, side by side."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the whole pipeline once, from files to an answer, and leave the stack running. Says what it costs, on stderr."""
    from rich.console import Console

    from braid.adapters.environment import load
    from braid.declaration_reader import load_all
    from cli import demo as show
    from producer.kafka_producer import main

    settings = load()
    declared = load_all(settings.root / "datasets")
    show.run(settings, declared, named or dataset, main, Console(stderr=True), as_json=as_json)


def _named(words: list[str]) -> list[str]:
    """Return a job's flags with a leading dataset name, as in `braid batch landcover`, made `--dataset`."""
    return ["--dataset", *words] if words and not words[0].startswith("-") else words


def _end(status: Any) -> None:
    raise typer.Exit(int(status or 0))

"""Imports point one way, every library has one home, and no dataset's own words are in the code.

Every `import` is looked at, at any depth of a module. Each rule is also shown something planted that it must find:
a rule that finds nothing because it sees nothing would be worth nothing.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from braid.declaration_reader import load_all

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"

CORE, ADAPTERS = "braid", "braid.adapters"
LAYERS = ("producer", "speed_layer", "batch_layer", "serving", "stack", "verify", "export")
# a part may import itself and these; nothing else of ours
MAY_IMPORT = {
    CORE: frozenset[str](),
    ADAPTERS: frozenset({CORE}),
    **dict.fromkeys(LAYERS, frozenset({CORE, ADAPTERS})),
    "cli": frozenset({CORE, ADAPTERS, *LAYERS}),
}
# where a library may be imported: files, or folders with all below them
HOMES = {
    "cassandra": ("braid/adapters/cassandra/",),
    "duckdb": ("verify/second_path.py", "verify/search.py"),
    "fastavro": ("export/avro.py",),
    "flask": ("serving/",),
    "flask_compress": ("serving/",),
    "gunicorn": ("serving/",),
    "kafka": ("braid/adapters/kafka.py",),
    "confluent_kafka": ("braid/adapters/kafka_producer.py",),
    "lmdb": ("braid/adapters/lmdb.py",),
    "numpy": ("braid/adapters/ids.py", "speed_layer/fold.py", "speed_layer/history.py", "verify/"),
    "orjson": ("producer/", "serving/"),
    "py4j": ("braid/adapters/spark.py",),
    "psutil": ("braid/adapters/", "stack/", "cli/"),
    "pyarrow": (
        "speed_layer/fold.py", "speed_layer/history.py", "speed_layer/unusual.py", "braid/adapters/archived.py", "braid/adapters/files.py",
        "braid/adapters/hive.py", "braid/adapters/hours.py", "braid/adapters/ids.py", "braid/adapters/publication.py",
        "braid/adapters/parquet.py", "braid/adapters/spark.py", "export/", "producer/cells.py", "serving/", "verify/",
    ),
    "pydantic": ("braid/declaration_file.py",),
    "pyhive": ("braid/adapters/hive.py",),
    "pyspark": (
        "braid/adapters/spark.py", "batch_layer/archive.py", "batch_layer/onto.py", "batch_layer/recompute.py", "batch_layer/run.py",
        "batch_layer/spark_batch.py", "batch_layer/bulk.py", "producer/load.py", "speed_layer/history.py",
        "speed_layer/spark_streaming.py", "speed_layer/stream.py",
    ),
    "rich": ("cli/",),
    "supervisor": ("stack/",),
    "thrift": ("braid/adapters/hive.py",),
    "thrift_sasl": ("braid/adapters/hive.py",),
    "typer": ("cli/",),
    "werkzeug": ("serving/",),
    "yaml": ("braid/declaration_file.py",),
}  # fmt: skip
# the core decides with values: no clock, no process, no network, no chance
NOT_IN_CORE = frozenset(
    {"os", "time", "socket", "subprocess", "threading", "multiprocessing", "random", "uuid", "shutil"}
)
CLOCKS = frozenset({"now", "utcnow", "today", "time", "monotonic"})
# words of a declaration that are everybody's
PLAIN_WORDS = frozenset({"timestamp", "event_id", "event_time"})
KNOWS_ITS_DATASET = ("producer/kafka_producer.py",)  # the plain script: its defaults are the land-cover files


@dataclass(frozen=True)
class Import:
    """One import: what, where, and whether inside a function or for the type checker only."""

    module: str
    line: int
    inner: bool
    types_only: bool


def imports_of(text: str) -> list[Import]:
    """Return every import of a module, at any depth; `from a import b` counts as a and as a.b."""
    tree = ast.parse(text)
    inner = {
        id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)
    }
    typed = {
        id(n)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and "TYPE_CHECKING" in ast.dump(test.test)
        for n in ast.walk(test)
    }
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            names = [node.module or ""] + [f"{node.module}.{alias.name}" for alias in node.names]
        found += [Import(name, node.lineno, id(node) in inner, id(node) in typed) for name in names]
    return found


def part_of(module: str) -> str:
    """Return the part that a module of ours is in."""
    return ADAPTERS if module == ADAPTERS or module.startswith(ADAPTERS + ".") else module.split(".", maxsplit=1)[0]


def part_of_file(path: str) -> str:
    """Return the part that a file under src/ is in."""
    return ADAPTERS if path.startswith("braid/adapters/") else path.split("/", maxsplit=1)[0]


def check_imports(path: str, text: str) -> Iterator[str]:
    """Yield what is wrong with the imports of the file `path` (relative to src/)."""
    here = part_of_file(path)
    for one in imports_of(text):
        where = f"{path}:{one.line}: {one.module}"
        top = one.module.split(".", maxsplit=1)[0]
        if top in {*MAY_IMPORT, "tests"}:
            there = part_of(one.module)
            if there not in {here, *MAY_IMPORT[here]}:
                yield f"{where}: {here} must not import {there}"
        elif top in sys.stdlib_module_names:
            if here == CORE and top in NOT_IN_CORE and not path.endswith("/settings.py"):
                yield f"{where}: the core does without {top}"
        elif top not in HOMES:
            yield f"{where}: a library without a home: name one in HOMES"
        elif not any(path == home or (home.endswith("/") and path.startswith(home)) for home in HOMES[top]):
            yield f"{where}: {top} is at home in {', '.join(HOMES[top])}"
        if one.inner and here != "cli":
            yield f"{where}: imported inside a function"


def check_clock(path: str, text: str) -> Iterator[str]:
    """Yield where the core asks for the time: it is an argument."""
    if part_of_file(path) != CORE:
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS:
            yield f"{path}:{node.lineno}: .{node.func.attr}(): time is an argument"


def check_words(path: str, text: str, words: frozenset[str]) -> Iterator[str]:
    """Yield where a dataset's word stands in the code, docstrings aside."""
    tree = ast.parse(text)
    texts = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body and isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
    }  # fmt: skip
    for node in ast.walk(tree):
        if id(node) in texts:
            continue
        fields = [value for _, value in ast.iter_fields(node) if isinstance(value, str)]
        for value in fields:
            for word in words:
                if word in value.lower():
                    yield f"{path}:{getattr(node, 'lineno', 0)}: {word!r} in {value[:60]!r}"


def dataset_words() -> frozenset[str]:
    """Return what the declarations of this repository call their own."""
    words = {"landcover", "land cover", "ndvi"}
    for declared in load_all(ROOT / "datasets").values():
        words |= {declared.dataset, *(t.name for t in declared.topics), *(v.name for v in declared.views)}
        words |= {a.name for a in declared.alerts} | {name for t in declared.topics for name in t.fields if "_" in name}
    return frozenset(words - PLAIN_WORDS)


FILES = {str(p.relative_to(SRC)): p.read_text(encoding="utf-8") for p in sorted(SRC.rglob("*.py"))}


def test_every_part_is_known() -> None:
    assert {part_of_file(path) for path in FILES} <= set(MAY_IMPORT)
    assert len(FILES) > 60


@pytest.mark.parametrize("path", FILES)
def test_imports_point_one_way_and_libraries_are_at_home(path: str) -> None:
    assert list(check_imports(path, FILES[path])) == []


@pytest.mark.parametrize("path", [p for p in FILES if part_of_file(p) == CORE])
def test_the_core_asks_no_clock(path: str) -> None:
    assert list(check_clock(path, FILES[path])) == []


@pytest.mark.parametrize("path", [p for p in FILES if p not in KNOWS_ITS_DATASET])
def test_no_dataset_s_own_words_are_in_the_code(path: str) -> None:
    assert list(check_words(path, FILES[path], dataset_words())) == []


# ---- no cycles -----------------------------------------------------------------------------------------------------


def graph(files: dict[str, str]) -> dict[str, set[str]]:
    """Return module → modules of ours that it imports when it is loaded."""
    names = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in files}
    return {
        name: {
            one.module
            for one in imports_of(files[path])
            if one.module in names and not one.inner and not one.types_only
        }
        - {name}
        for name, path in names.items()
    }


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """Return modules that import each other in a circle, empty when none do."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return way[way.index(name) :]
        if name not in done:
            for other in sorted(edges[name]):
                if found := walk(other, [*way, name]):
                    return found
            done.add(name)
        return []

    return next((found for name in sorted(edges) if (found := walk(name, []))), [])


def test_no_modules_import_each_other() -> None:
    assert cycle(graph(FILES)) == []


# ---- the rules can fail --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text", "wrong"),
    [
        ("braid/views.py", "import braid.adapters.kafka", "braid must not import braid.adapters"),
        ("braid/views.py", "from braid.adapters import files", "braid must not import braid.adapters"),
        ("braid/views.py", "from braid import adapters", "braid must not import braid.adapters"),
        ("braid/views.py", "import numpy", "numpy is at home in"),
        ("braid/views.py", "def f():\n    if True:\n        from time import sleep", "the core does without time"),
        ("braid/adapters/kafka.py", "from serving import tail", "braid.adapters must not import serving"),
        ("serving/tail.py", "from speed_layer import fold", "serving must not import speed_layer"),
        (
            "speed_layer/microbatch.py",
            "class A:\n    def f(self):\n        import pyspark.sql",
            "pyspark is at home in",
        ),
        ("speed_layer/fold.py", "import pyspark", "pyspark is at home in"),
        ("speed_layer/fold.py", "from tests import naive", "speed_layer must not import tests"),
        (
            "batch_layer/run.py",
            "try:\n    import cassandra.cluster\nexcept ImportError:\n    pass",
            "cassandra is at home in",
        ),
        ("batch_layer/run.py", "import pandas", "a library without a home"),
        ("stack/up.py", "def f():\n    import json", "imported inside a function"),
        ("producer/plan.py", "import cli.main", "producer must not import cli"),
    ],
)
def test_a_planted_import_is_found(path: str, text: str, wrong: str) -> None:
    assert any(wrong in found for found in check_imports(path, text))


def test_a_planted_clock_is_found() -> None:
    assert list(check_clock("braid/views.py", "def f():\n    return datetime.now(UTC)"))
    assert not list(check_clock("braid/adapters/clock.py", "time.time_ns()"))


@pytest.mark.parametrize(
    "text",
    [
        'TOPIC = "image-events"',
        "def f(ndvi_mean): ...",
        "x.class_name",
        'f"{a} FROM landcover.x"',
        "ndvi = 1",
        "g(image_id=3)",
    ],
)
def test_a_planted_word_is_found(text: str) -> None:
    assert list(check_words("speed_layer/fold.py", text, dataset_words()))


def test_a_word_in_a_docstring_is_an_example() -> None:
    assert not list(
        check_words("braid/views.py", '"""As in landcover."""\n\ndef f():\n    """Of ndvi."""', dataset_words())
    )


def test_a_planted_cycle_is_found() -> None:
    planted = {
        "braid/a.py": "from braid import b",
        "braid/b.py": "import braid.c",
        "braid/c.py": "from braid.a import x",
    }
    assert cycle(graph(planted)) == ["braid.a", "braid.b", "braid.c"]
    inner = planted | {"braid/c.py": "def f():\n    from braid.a import x"}
    assert cycle(graph(inner)) == []

"""docs/api.md names every path, parameter, header and kind of missing part that the code has, and no other."""

import re
from pathlib import Path

from serving import params
from tests.unit.serving_world import World, app_of, client_of, ride

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "api.md").read_text("utf-8")


def first_cells(heading: str) -> str:
    """Return the first cells of the first table after a heading or a bold word."""
    after = TEXT[TEXT.index(heading) :]
    rows = re.search(r"(\n\|.*)+", after)
    assert rows is not None
    return "\n".join(line.split("|")[1] for line in rows[0].strip().splitlines()[2:])


def test_every_path_is_named() -> None:
    rules = {re.sub(r"path:|int:", "", rule.rule) for rule in app_of(World()).url_map.iter_rules()}
    named = set(re.findall(r"`(/[^`]*)`", first_cells("# The API")))
    assert named == {rule.replace("<rest>", "<path>") for rule in rules}


def test_every_parameter_is_named() -> None:
    named = set(re.findall(r"`([a-z_]+)`", first_cells("## Parameters")))
    assert named - {"class_name"} == params.TAKEN


def test_every_header_is_named() -> None:
    world = World().genesis()
    world.commit([ride(1, "Bern", 1)], view_n={"rides_by_minute": 9})
    headers = client_of(world).get("/api/rides/newest").headers
    # that of accepted gaps is there with a gap only: test_gaps has such an answer
    given = {name for name, _ in headers if name.startswith("X-Braid")} | {"X-Braid-Gaps"}
    assert given == set(re.findall(r"`(X-Braid[^`]*)`", TEXT))


def test_every_kind_of_missing_part_is_named() -> None:
    source = "".join(path.read_text("utf-8") for path in (ROOT / "src" / "serving").glob("*.py"))
    used = set(re.findall(r'Missing\("([a-z]+)"', source)) | {"cassandra", "hive"}
    assert set(re.findall(r"`([a-z]+)`", first_cells("**Complete**"))) == used

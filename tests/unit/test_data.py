"""The committed CSVs are the patches they claim to be: golden sums, computed here from the files alone."""

import csv
import hashlib
import importlib.util
import random
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "data" / "landcover"
LINES_SHA256 = "8081247378321801bf2ddf37b317a251c8e42564516cb9caa65bab802721e1d4"
GOLDEN = {  # class: n, Σx, Σx², min, max of ndvi_mean ·10^6
    "red soil": (1533, 101068727, 7539850408295, 21165, 237453),
    "cotton crop": (703, 332837814, 169628727554366, 64426, 646591),
    "grey soil": (1358, 34091367, 1112729397305, 3498, 173600),
    "damp grey soil": (626, 20100758, 1071110753276, -3, 199817),
    "soil with vegetation stubble": (707, 99592079, 16485395311825, 3395, 362667),
    "very damp grey soil": (1508, 42641771, 1871432221455, -6970, 178391),
}


def table(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def scaled(text: str) -> int:
    value = Decimal(text) * 10**6
    assert value == int(value), f"more than 6 digits: {text}"
    return int(value)


def test_the_patches_are_the_golden_ones() -> None:
    classes = [int(row["class_id"]) for row in table("images.csv")]
    columns = ("ndvi_mean", "ndvi_std", "ndvi_min", "ndvi_max")
    lines = [
        ",".join(map(str, (number, label, *(scaled(row[c]) for c in columns))))
        for number, (label, row) in enumerate(zip(classes, table("ndvi_stats.csv"), strict=True), start=1)
    ]
    assert hashlib.sha256(("\n".join(lines) + "\n").encode()).hexdigest() == LINES_SHA256


def test_the_golden_sums_per_class() -> None:
    names = {row["class_id"]: row["class_name"] for row in table("classes.csv")}
    label = {row["image_id"]: names[row["class_id"]] for row in table("images.csv")}
    values: dict[str, list[int]] = {}
    for row in table("ndvi_stats.csv"):
        values.setdefault(label[row["image_id"]], []).append(scaled(row["ndvi_mean"]))
    found = {name: (len(x), sum(x), sum(v * v for v in x), min(x), max(x)) for name, x in values.items()}
    assert found == GOLDEN


def test_every_table_has_the_same_images_in_the_same_order() -> None:
    images = [row["image_id"] for row in table("images.csv")]
    assert images == [f"sat-{n:05d}" for n in range(1, 6436)]
    assert [row["image_id"] for row in table("ndvi_stats.csv")] == images
    assert [row["image_id"] for row in table("spectral_data.csv")] == images


def test_the_attribution_names_the_pins_that_the_build_checks() -> None:
    text = (ROOT / "data" / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for pin in (build.WHEEL_SHA256, build.MEMBER_SHA256, build.MEMBER, "CC BY 4.0", "Srinivasan"):
        assert pin in text


def _load() -> object:
    spec = importlib.util.spec_from_file_location("build_landcover", ROOT / "data" / "build_landcover.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = _load()


def test_rounding_is_half_even_and_exact() -> None:
    rng = random.Random(5)
    with localcontext() as context:
        context.prec = 200
        context.rounding = ROUND_HALF_EVEN
        for _ in range(2000):
            top, bottom = rng.randrange(0, 10**9), rng.randrange(1, 10**6)
            value = Fraction(top, bottom)
            assert build.half_even_sqrt(value) == int(((Decimal(top) / bottom).sqrt() * 10**6).quantize(Decimal(1)))
            assert build.half_even(-value) == -build.half_even(value)
    assert [build.half_even_sqrt(Fraction(odd * odd, 4), 0) for odd in (1, 3, 5, 7)] == [0, 2, 2, 4]


def test_ndvi_of_a_patch_by_hand() -> None:
    assert build.ndvi_of([1, 100, 300, 1] * 9) == (500000, 0, 500000, 500000)
    eight = [1, 100, 100, 1] * 8
    assert build.ndvi_of([*eight, 1, 100, 300, 1]) == (55556, 157135, 0, 500000)  # mean 1/18, std √(8/9²)/2


def test_a_changed_source_is_refused_before_anything_is_written() -> None:
    with pytest.raises(SystemExit, match=r"expected sha256 .*, got .*; the source changed, nothing was written"):
        build.member_of(b"another wheel")

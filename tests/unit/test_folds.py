"""Views of the same keys share one fold, and only those whose windows it divides."""

from __future__ import annotations

from batch_layer.recompute import folds_of
from braid.declaration import Measure, ViewSpec


def view(name: str, by: str, window_us: int, *fields: str, topic: str = "t") -> ViewSpec:
    measures = tuple(Measure(f"{name}_{i}", field, ("mean",), 3) for i, field in enumerate(fields))
    return ViewSpec(name, tuple(by), window_us, measures, (topic,))


def shapes(*views: ViewSpec) -> list[tuple[str, int, list[str], list[str]]]:
    return [
        ("".join(fold.by), fold.window_us, [m.name for m in fold.measures], [v.name for v in held])
        for fold, held in folds_of(views)
    ]


def test_one_fold_serves_all_windows_of_the_same_keys() -> None:
    found = shapes(view("all", "k", 0, "a", "b"), view("hour", "k", 60, "b"), view("minute", "k", 1, "a", "c", "a"))
    assert found == [("k", 1, ["a", "c", "b"], ["minute", "hour", "all"])]


def test_a_window_that_the_finer_one_does_not_divide_is_folded_apart() -> None:
    found = shapes(view("four", "k", 4, "a"), view("six", "k", 6, "a"), view("eight", "k", 8, "a"))
    assert found == [("k", 4, ["a"], ["four", "eight"]), ("k", 6, ["a"], ["six"])]


def test_other_keys_and_other_topics_are_folded_apart() -> None:
    found = shapes(view("a", "k", 1, "x"), view("b", "kl", 1, "x"), view("c", "k", 1, "x", topic="u"))
    assert [held for *_, held in found] == [["a"], ["b"], ["c"]]


def test_all_time_alone_stays_all_time() -> None:
    assert shapes(view("all", "k", 0, "a")) == [("k", 0, ["a"], ["all"])]

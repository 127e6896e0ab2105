"""`latest` and `top`: what a declaration says of them, and answers that are cut only after the merge."""

from __future__ import annotations

import csv
import io
import random
from typing import Any

import pytest

from braid import cql, hiveql, views
from braid.declaration import Declaration
from braid.declaration_reader import parse
from braid.errors import DeclarationError
from braid.views import merge_views
from serving import columns
from tests.unit.serving_world import START_US, Ride, World, client_of, states_of

TEXT = """
dataset: posts
topic: rides-log
event_id: [post]
event_time: append
fields:
  post:  {type: string}
  board: {type: string}
  score: {type: decimal, scale: 1, optional: true}
  title: {type: string, optional: true}
views:
  best:
    by: [board, post]
    window: 1 minute
    measures:
      score: {of: score, stats: [latest, max]}
      title: {of: title, stats: [latest]}
    rename: {title_latest: title}
    top: {k: 3, of: score_latest, per: [board]}
  best_ever:
    by: [board, post]
    window: all
    measures:
      score: {of: score, stats: [latest, max]}
      title: {of: title, stats: [latest]}
    top: {k: 2, of: score_latest}
api:
  /api/best: {view: best, newest_window: true}
"""
POSTS = parse(TEXT)
BEST = "/api/v1/datasets/posts/views/best"


def a_world(seed: int, batches: int = 8) -> World:
    """Return micro-batches of edits of posts: scores fall and rise, some have none, some come late or at one instant."""
    chance, world, number = random.Random(seed), World(declaration=POSTS).genesis(), 0
    for seq in range(batches):
        events = []
        for _ in range(chance.randrange(1, 25)):
            number += 1
            minute = max(0, seq // 3 - chance.choice([0, 0, 1]))
            score = chance.choice([None, 0, chance.randrange(-50, 50)])
            values = {"board": chance.choice("ab"), "post": f"p{chance.randrange(9)}", "score": score}
            title = chance.choice([None, f"é'\"\\ {number}", " "])
            events.append(
                Ride(number, START_US + minute * 60_000_000 + chance.randrange(3), {**values, "title": title})
            )
        world.commit(events)
    return world


def by_hand(world: World, k: int, per: int) -> dict[Any, list[tuple[float, str, str, str | None]]]:
    """Return, by window and the first `per` keys, the rows (score, board, post, title), by plain loops over all events."""
    newest: dict[Any, dict[str, Any]] = {}
    at = 0
    for seq, events in enumerate(world.events):
        for event in events:
            at += 1
            key = (event.event_us // 60_000_000, event.values["board"], event.values["post"])
            held = newest.setdefault(key, {})
            for name in ("score", "title"):
                if event.values[name] is not None:
                    held[name] = max(held.get(name, ((-1,), None)), ((event.event_us, seq, at), event.values[name]))
    lists: dict[Any, list[Any]] = {}
    for (minute, board, post), held in newest.items():
        if "score" in held:
            row = (held["score"][1] / 10, board, post, held["title"][1] if "title" in held else None)
            lists.setdefault((minute, board)[: 1 + per], []).append(row)
    return {group: sorted(rows, key=lambda r: (-r[0], r[1], r[2]))[:k] for group, rows in lists.items()}


@pytest.mark.parametrize("cut", [0, 1, 4, 7, 8])
@pytest.mark.parametrize("seed", range(4))
def test_a_list_is_cut_after_batch_and_tail_are_merged(cut: int, seed: int) -> None:
    world = a_world(seed)
    if cut:
        world.publish(1, cut)
    client = client_of(world)
    answer = client.get(f"{BEST}?state=1").json
    expected = [row for _, rows in sorted(by_hand(world, 3, 1).items()) for row in rows]
    assert [(r["score_latest"], r["board"], r["post"], r["title"]) for r in answer["data"]] == expected
    ranks = [rank for _, rows in sorted(by_hand(world, 3, 1).items()) for rank in range(1, len(rows) + 1)]
    assert [r["rank"] for r in answer["data"]] == ranks
    whole = world.naive("best")
    assert all(whole[place] == state for place, state in states_of(answer, POSTS, "best").items())
    assert answer["meta"]["of_rows"] == answer["meta"]["rows"] == len(expected)


def test_a_list_of_all_keys_and_equal_numbers_by_key() -> None:
    world = World(declaration=POSTS).genesis()
    scores = {"x": 50, "c": 10, "a": 10, "b": 10}
    world.commit([Ride(i, START_US, {"board": "a", "post": p, "score": s, "title": None}) for i, (p, s) in enumerate(scores.items())])  # fmt: skip
    rows = client_of(world).get("/api/v1/datasets/posts/views/best_ever").json["data"]
    assert [(r["rank"], r["post"], r["title_latest"]) for r in rows] == [(1, "x", None), (2, "a", None)]


def test_newest_first_turns_windows_round_and_not_ranks_and_pages_go_on() -> None:
    client = client_of(a_world(5))
    up, down = (client.get(f"{BEST}?order={order}").json["data"] for order in ("asc", "desc"))
    assert down == sorted(up, key=lambda r: r["window_start"], reverse=True) and down != up
    paged = []
    got = client.get(f"{BEST}?limit=2").json
    while True:
        paged += got["data"]
        if not got["next"]:
            break
        got = client.get(got["next"]).json
    assert paged == up


def test_the_newest_window_is_each_list_s_own() -> None:
    world = World(declaration=POSTS).genesis()
    told = [(0, "a", "old", 90), (1, "a", "new", 10), (0, "b", "only", 5), (0, "b", "less", 1)]
    world.commit([Ride(i, START_US + m * 60_000_000, {"board": b, "post": p, "score": s, "title": None}) for i, (m, b, p, s) in enumerate(told)])  # fmt: skip
    rows = client_of(world).get("/api/best").json
    assert [(r["board"], r["post"], r["rank"]) for r in rows] == [("b", "only", 1), ("b", "less", 2), ("a", "new", 1)]


def test_a_filter_makes_a_list_of_what_is_asked_for_and_a_roll_up_ranks_its_own_rows() -> None:
    client = client_of(a_world(3))
    rows = client.get(f"{BEST}?post=p8").json["data"]
    assert rows and {r["post"] for r in rows} == {"p8"} and {r["rank"] for r in rows} == {1}
    rolled = client.get(f"{BEST}?window=all&group_by=board&stats=max").json["data"]
    assert [(r["board"], r["rank"]) for r in rolled] == [("a", 1), ("b", 1)] and "score_latest" not in rolled[0]


def test_rank_and_texts_are_columns_everywhere() -> None:
    spec = POSTS.view("best")
    reply = client_of(a_world(2)).get(f"{BEST}?format=csv")
    rows = list(csv.DictReader(io.StringIO(reply.text)))
    assert rows[0]["rank"] == "1" and set(rows[0]) == {c.name for c in columns.of_view(POSTS, spec)}
    assert ("title", "text") in cql.projection(POSTS, spec).columns
    assert ("score__latest", "text") in cql.fragments(POSTS, spec).columns
    told = {c.name: c.type for c in hiveql.columns(spec)}
    assert (told["title"], told["score_latest"], told["title__latest"]) == ("string", "double", "string")
    for place, state in a_world(2).naive("best").items():
        row = dict(zip(told, hiveql.row_of(spec, place, state), strict=True))
        assert hiveql.place_of(spec, [row[c.name] for c in hiveql.exact_columns(spec)]) == (place, state)


def test_states_of_pieces_merge_to_those_of_the_whole() -> None:
    world = a_world(9)
    pieces = [world.naive("best", seq, seq + 1) for seq in range(len(world.events) - 1)]
    assert merge_views(reversed(pieces)) == world.naive("best")
    with pytest.raises(ValueError, match="place in ledger order"):
        views.fold(POSTS.view("best"), world.events[1])


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("of: score_latest, per: [board]", "of: title, per: [board]", r"views.best.top.of: expected one of score_latest, score_max, got 'title'"),
        ("per: [board]", "per: [title]", r"views.best.top.per\[0\]: expected some of board, post, not all, got 'title'"),
        ("per: [board]", "per: [board, post]", r"top.per\[0\]: expected some of board, post, not all, got 'board'"),
        ("k: 3, of", "k: 0, of", r"views.best.top.k: expected at least 1, got 0"),
        ("{k: 3, of", "{many: 3, k: 3, of", r"views.best.top.many: expected one of k, of, per, got 'many'"),
        ("stats: [latest]}\n    rename", "stats: [latest, mean]}\n    rename", r"measures.title.of: expected a decimal field, got 'title'"),
        ("    rename: {title_latest: title}", "    rename: {title_latest: rank}", r"expected columns that Braid does not use itself, got 'rank'"),
        ("    rename: {title_latest: title}", "    publish: best-posts\n    rename: {title_latest: title}", r"views.best.publish: expected no publish beside top"),
        ("    rename: {title_latest: title}", "    classify: {word: {of: title_latest, below: {a: 1}, otherwise: b}}", r"classify.word.of: expected one of score_latest, score_max, got 'title_latest'"),
    ],
)  # fmt: skip
def test_what_cannot_be_ranked_is_refused_with_its_place(old: str, new: str, error: str) -> None:
    assert old in TEXT
    with pytest.raises(DeclarationError, match=error):
        parse(TEXT.replace(old, new, 1))


def test_a_list_is_part_of_the_definition() -> None:
    def hash_of(text: str) -> str:
        made: Declaration = parse(text)
        return made.hash

    without = "\n".join(line for line in TEXT.splitlines() if "top:" not in line)
    assert len({hash_of(TEXT), hash_of(without), hash_of(TEXT.replace("k: 3", "k: 4"))}) == 3

#!/usr/bin/env python3
"""Generate data/reddit/*/*.csv.gz: posts, comments and users of a made-up forum. Nothing here was written by anybody.

The records are generated from a start number: no text, name, score or time is real. The same start number and sizes
give the same bytes on every machine: the only source of chance is `random.Random(seed).random()`, which Python keeps
the same across versions, and only the four operations of arithmetic are done with it. The times are fixed: seven days
from 2026-03-01T00:00:00Z, whatever today is.

What is like the real thing, and what it was measured on
    Who acts, and where: 10,000 public events of a code-hosting site over 21 minutes (GH Archive, as carried by Maven's
    pinot-tools 0.11.0; only counted, nothing of them is kept). Of its 4,517 actors the busiest had 5.7 % of the events,
    the ten busiest 16 %, the busiest 1 % 23 %, and 64 % acted once; of its 5,530 places the ten busiest had 5.5 %, the
    busiest 1 % 13 %, and 72 % were seen once. Users are ten accounts of fixed shares and a Pitman-Yor process beside
    them, subreddits a Pitman-Yor process. (Measured subreddits would be fewer and larger.)
    Threads: a comment answers a post picked through the newest posts and comments, so long threads grow longer.
    Edits: a later record of the same post or comment with a newer `timestamp`, another score and, of a post, the
    comments so far. A delete is an edit whose content is `[deleted]`. A first record has timestamp = created_utc and
    score 1. A user's later records carry a newer karma.
    The hours of the day: a night with a third of the evening's traffic. All in order of `timestamp`, none late.

    python data/build_reddit.py            writes the three files
    python data/build_reddit.py --check    compares them with what would be written, writes nothing
    python data/build_reddit.py --seed 7 --posts 50000 --comments 150000 --out DIR      another, larger history
    python data/build_reddit.py --live --seed 7 --start 2026-03-08T00:00:00Z --every-us 10000      what comes after it,
        without end, on stdout: a topic, a tab, a record as JSON. `braid produce` runs it so for `--synthetic`: the same
        people go on in the same threads as the committed history. Record p is of the time START + p · EVERY.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pinned

SEED = 20260301
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 7
DAY_S = 86400
END_S = DAYS * DAY_S
POSTS = 5_000
COMMENTS = 15_000
SHA256 = {
    "reddit/reddit.posts/posts.csv.gz": "9bc8206a15eb770e3696b23a50e9d8a3289bbddaee9c98ced24303417167a518",
    "reddit/reddit.comments/comments.csv.gz": "ad0a9870e1a208b847316ea971826f3925ca3ef8cce6cd9fa9edb6a23f715f6f",
    "reddit/reddit.users/users.csv.gz": "5175558e6d687c2315380b672e285131c8f3f6158bad6f2c7e2dfafdbf3bdfa5",
}
POST_COLUMNS = "post_id,user_id,subreddit,title,content,score,num_comments,created_utc,timestamp"
COMMENT_COLUMNS = "comment_id,post_id,user_id,content,score,created_utc,timestamp"
USER_COLUMNS = "user_id,username,karma,created_utc,timestamp"
DELETED = "[deleted]"

# Pitman-Yor: the discount sets how many are seen once, the strength how many there are after so many draws; both were
# fitted to the measurements above at 10,000 draws
BUSIEST = (0.057, 0.025, 0.018, 0.014, 0.011, 0.009, 0.008, 0.007, 0.006, 0.005)
USERS = (0.5, 1150.0)
SUBREDDITS = (0.7, 500.0)
# how much of a day's traffic falls into each hour, UTC, as shares of their sum
HOURS = (10, 8, 6, 5, 5, 5, 6, 7, 9, 10, 11, 12, 13, 13, 13, 14, 14, 15, 15, 15, 15, 14, 13, 12)
RECENT = 30  # half of all comments go to a thread of the newest 30 posts and comments
KARMA_EVERY = 8  # contributions of a user between two records of it

# of what comes after the history: what people do, in its proportions (without the records of users, which follow)
ACTS = (("post", 5000), ("comment", 15000), ("post again", 4094), ("comment again", 2452))
GONE = {"post again": 134 / 4094, "comment again": 278 / 2452}  # of the edits, deletes
ANEW = 300  # half of the edits are of the newest 300 posts or comments
KEPT = 5000  # posts, and comments, that can still be answered or edited
DRAWS = 100_000  # earlier draws that decide who acts and where; older ones are forgotten
POSTS_TOPIC, COMMENTS_TOPIC, USERS_TOPIC = "reddit.posts", "reddit.comments", "reddit.users"

_WORDS = """
    the a of to and is it that for on with this was my we not but so if all at one out up time what about just any like
    new old first last long short good better best small large early late quiet loud warm cold dry wet bright dark fast
    slow simple strange plain open closed sharp soft heavy light deep high low full empty clean broken garden river
    bridge kitchen engine bicycle train map window table chair lamp door roof wall road field forest mountain lake
    island harbour boat sail wind rain snow storm cloud star moon sun summer winter spring autumn morning evening night
    week month year bread cheese apple pepper coffee tea soup salt sugar recipe oven knife pan book page letter story
    song piano guitar drum film camera picture colour paper pencil clock coin stamp ticket market shop street city
    village school teacher student friend family dog cat bird fish horse bee tree leaf seed root soil stone sand clay
    iron copper glass wood wool cotton thread needle hammer saw nail screw wheel gear pump pipe wire battery radio
    signal number sum question answer reason test result chance rule game board card team match goal score walk run
    climb swim build repair paint write read learn teach grow cook bake clean carry count measure compare find lose keep
"""
WORDS = tuple(_WORDS.split())
COMMON = 40  # the words drawn half of the time


class Record(NamedTuple):
    """One line: when, the id that settles ties, and the columns."""

    second: int
    id: str
    columns: tuple[object, ...]


@dataclass(slots=True)
class Process:
    """A Pitman-Yor process: the next draw is a known number in proportion to its draws so far, or a new one.

    Of m draws that gave K numbers, number k with n draws comes next with (n - discount)/(m + strength), a new one with
    (strength + discount·K)/(m + strength). A uniform earlier draw is taken and kept with 1 - discount/n, which gives
    just that, without a sum.
    """

    discount: float
    strength: float
    chance: Callable[[], float]
    draws: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def next(self) -> int:
        """Return the next draw: 0, 1, …"""
        at = self.chance() * (len(self.draws) + self.strength)
        known = self.draws[int(at)] if at < len(self.draws) else None
        if known is not None and self.chance() * self.counts[known] < self.discount:
            known = None
        if known is None:
            known = len(self.counts)
            self.counts.append(0)
        self.counts[known] += 1
        self.draws.append(known)
        return known


@dataclass(slots=True)
class Item:
    """A post or comment as it was first written, and its seconds of later comments when it is a post."""

    id: str
    user: int
    second: int
    content: str
    post: int  # the number of its post; of a post, its own
    title: str = ""
    subreddit: str = ""
    answers: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Account:
    """A user: what it began with, and its records so far."""

    karma: int
    created: int
    acts: int = 0
    newest: int = -1


def base36(number: int) -> str:
    """Return a number in the digits 0-9a-z.

    Examples
    --------
    >>> base36(35), base36(36)
    ('z', '10')
    """
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits or "0"


def iso(second: int) -> str:
    """Return the time of a second of the history."""
    return f"{START + timedelta(seconds=second):%Y-%m-%dT%H:%M:%SZ}"


class Forum:
    """The made-up forum: everything is drawn in the order of time, from one start number."""

    def __init__(self, seed: int, posts: int, comments: int) -> None:
        self.chance = random.Random(seed).random  # noqa: S311 - a test set, not a secret
        self.users = Process(*USERS, self.chance)
        self.subreddits = Process(*SUBREDDITS, self.chance)
        self.accounts: dict[int, Account] = {}
        self.user_records: list[Record] = []
        self.posts: list[Item] = []
        self.comments: list[Item] = []
        self._written: list[Item] = []
        self._write(posts, comments)

    # ---- what is drawn

    def below(self, bound: int) -> int:
        """Return 0 <= n < bound, each as likely."""
        return int(self.chance() * bound)

    def tail(self, scale: float, most: int) -> int:
        """Return 0 <= n < most, half of them under `scale`, and far ones with a chance of about scale/n."""
        drawn = int(scale * (1.0 / (1.0 - self.chance()) - 1.0))
        return drawn if drawn < most else self.below(most)

    def one_of(self, shares: Sequence[tuple[str, int]]) -> str:
        """Return a name, each as likely as its share of the sum."""
        at = self.below(sum(share for _, share in shares))
        for name, share in shares:
            at -= share
            if at < 0:
                return name
        raise ValueError(shares)

    def text(self, fewest: int, most: int) -> str:
        """Return words; the first of the list come more often."""
        words = fewest + self.below(most - fewest + 1)
        return " ".join(WORDS[self.below(COMMON if self.chance() < 0.5 else len(WORDS))] for _ in range(words))

    def times(self, count: int) -> list[int]:
        """Return seconds in order, by the hours of the day."""
        ends = [sum(HOURS[: hour + 1]) for hour in range(24)]
        found = []
        for _ in range(count):
            at = self.below(ends[-1])
            hour = next(h for h in range(24) if at < ends[h])
            found.append(self.below(DAYS) * DAY_S + hour * 3600 + self.below(3600))
        return sorted(found)

    def user(self, second: int) -> int:
        """Return who acts, and write down what is then known of them."""
        at, number = self.chance(), None
        for place, share in enumerate(BUSIEST):
            at -= share
            if at < 0:
                number = place
                break
        number = len(BUSIEST) + self.users.next() if number is None else number
        if number not in self.accounts:
            self.accounts[number] = Account(self.tail(100, 10**6), -DAY_S * (1 + self.below(3000)) + self.below(DAY_S))
        account = self.accounts[number]
        if account.acts % KARMA_EVERY == 0 and second > account.newest:
            self._note(number, account, second)
        account.acts += 1
        return number

    def _note(self, number: int, account: Account, second: int) -> None:
        account.karma += account.acts + self.tail(2, 1000) if account.acts else 0
        account.newest = second
        name = f"{WORDS[40 + number % 97]}_{WORDS[137 + number // 97 % (len(WORDS) - 137)]}_{number}"
        columns = (f"t2_{base36(36**4 + number)}", name, account.karma, iso(account.created), iso(second))
        self.user_records.append(Record(second, str(columns[0]), columns))

    # ---- who writes what

    def _write(self, posts: int, comments: int) -> None:
        moments = sorted([*((s, False) for s in self.times(posts)), *((s, True) for s in self.times(comments))])
        opening = next(place for place, (_, answers) in enumerate(moments) if not answers)
        moments[0], moments[opening] = (moments[0][0], False), (moments[opening][0], moments[0][1])
        for second, answers in moments:
            (self._comment if answers else self._post)(second)

    def _post(self, second: int) -> None:
        number = len(self.posts)
        place = self.subreddits.next()
        item = Item(
            id=f"t3_{base36(36**5 + number)}",
            user=self.user(second),
            second=second,
            content=self.text(5, 24) if self.chance() < 0.7 else "",  # the rest are links
            post=number,
            title=self.text(4, 9),
            subreddit=f"{WORDS[40 + place % 97]}_{place}",
        )
        self.posts.append(item)
        self._written.append(item)

    def _comment(self, second: int) -> None:
        post = self._written[-1 - self.tail(RECENT, len(self._written))].post
        item = Item(f"t1_{base36(36**5 + len(self.comments))}", self.user(second), second, self.text(3, 14), post)
        self.comments.append(item)
        self._written.append(item)
        self.posts[post].answers.append(second)

    # ---- records

    def edits(self, item: Item, most: int, share: float, deleted: float) -> Iterator[tuple[int, int, str]]:
        """Yield (second, score, content) of an item's records: the first, then its edits up to the end."""
        second, score, content = item.second, 1, item.content
        yield second, score, content
        count = 1 + self.below(most) if self.chance() < share else 0
        gone = count if self.chance() < deleted else -1  # the record after the last edit
        for number in range(count + (gone >= 0)):
            second += 30 + self.tail(1800, END_S)
            if second >= END_S:
                return
            score += self.tail(4, 5000) - (self.chance() < 0.2)
            yield second, score, DELETED if number == gone else content

    def post_records(self) -> Iterator[Record]:
        """Yield every record of every post."""
        for item in self.posts:
            for second, score, content in self.edits(item, 3, 0.4, 0.03):
                comments = sum(answered <= second for answered in item.answers)
                yield Record(second, item.id, (
                    item.id, user_id(item.user), item.subreddit, item.title, content, score, comments,
                    iso(item.second), iso(second),
                ))  # fmt: skip

    def comment_records(self) -> Iterator[Record]:
        """Yield every record of every comment."""
        for item in self.comments:
            for second, score, content in self.edits(item, 2, 0.1, 0.02):
                post = self.posts[item.post].id
                columns = (item.id, post, user_id(item.user), content, score, iso(item.second), iso(second))
                yield Record(second, item.id, columns)


def user_id(number: int) -> str:
    """Return the id of a user."""
    return f"t2_{base36(36**4 + number)}"


# ---- what comes after the history -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Held:
    """A post or comment as its newest record has it; `post` is the one it answers, of a post itself."""

    topic: str
    columns: dict[str, object]
    post: Held | None = None
    gone: bool = False


class Live:
    """The forum after its history: a record at a time, without end, in bounded memory but for who is known.

    Parameters
    ----------
    forum : the history; what happens from now on is drawn from `seed`
    start_us : when it goes on, microseconds since 1970: new ids begin with it, so that no two runs share one
    """

    def __init__(self, forum: Forum, seed: int, start_us: int) -> None:
        self.forum = forum
        self.posts = [Held(POSTS_TOPIC, columns) for columns in newest_of(POST_COLUMNS, forum.post_records())]
        by_id = {held.columns["post_id"]: held for held in self.posts}
        comments = newest_of(COMMENT_COLUMNS, forum.comment_records())
        self.comments = [Held(COMMENTS_TOPIC, columns, by_id[columns["post_id"]]) for columns in comments]
        # what the files hold is drawn; from here on the seed decides
        chance = random.Random(f"{seed} {start_us}").random  # noqa: S311 - a test set, not a secret
        forum.chance = forum.users.chance = forum.subreddits.chance = chance
        for held in (*self.posts, *self.comments):
            held.gone = held.columns["content"] == DELETED
        self.recent = sorted([*self.posts, *self.comments], key=lambda held: str(held.columns["created_utc"]))
        self._ids = (f"{base36(start_us)}{base36(seed % 1296).rjust(2, '0')}{base36(36**3 + n)}" for n in count())
        self._due: deque[Callable[[str], Held]] = deque()

    def records(self, start_us: int, every_us: int) -> Iterator[tuple[str, dict[str, object]]]:
        """Yield (topic, record), for ever."""
        for position in count():
            if not self._due:
                self._act()
            now = start_us + position * every_us
            held = self._due.popleft()(f"{EPOCH + timedelta(microseconds=now):%Y-%m-%dT%H:%M:%S.%fZ}")
            yield held.topic, {name: value for name, value in held.columns.items() if value != ""}

    def _act(self) -> None:
        """Let somebody do something: one record, and before it one of who does it when that is due."""
        act = self.forum.one_of(ACTS)
        for processed in (self.forum.users, self.forum.subreddits):
            if len(processed.draws) > DRAWS:
                del processed.draws[: DRAWS // 2]
        for held in (self.posts, self.comments, self.recent):
            if len(held) > 2 * KEPT:
                del held[:KEPT]
        if act in GONE:
            self._again(self.posts if act == "post again" else self.comments, GONE[act])
        elif act == "post":
            user, subreddit = self._user(), self.forum.subreddits.next()
            self._due.append(lambda now: self._new(self.posts, POSTS_TOPIC, {
                "post_id": f"t3_{next(self._ids)}", "user_id": user_id(user), "subreddit": f"{WORDS[40 + subreddit % 97]}_{subreddit}",
                "title": self.forum.text(4, 9), "content": self.forum.text(5, 24) if self.forum.chance() < 0.7 else "",
                "score": 1, "num_comments": 0, "created_utc": now, "timestamp": now,
            }))  # fmt: skip
        else:
            user, post = self._user(), self._thread()
            self._due.append(lambda now: self._new(self.comments, COMMENTS_TOPIC, {
                "comment_id": f"t1_{next(self._ids)}", "post_id": post.columns["post_id"], "user_id": user_id(user),
                "content": self.forum.text(3, 14), "score": 1, "created_utc": now, "timestamp": now,
            }, post))  # fmt: skip

    def _user(self) -> int:
        """Return who acts; a record of them is due first when they are new, or have done much since the last."""
        forum, before = self.forum, len(self.forum.user_records)
        number = forum.user(END_S)
        forum.accounts[number].newest = -1  # the history's clock stands still: its next record is never too early
        for record in forum.user_records[before:]:
            columns = dict(zip(USER_COLUMNS.split(","), record.columns, strict=True))
            self._due.append(lambda now, columns=columns: Held(USERS_TOPIC, columns | {"timestamp": now}))
        del forum.user_records[before:]
        return number

    def _thread(self) -> Held:
        """Return the post that a comment answers: long threads grow longer."""
        held = self.recent[-1 - self.forum.tail(RECENT, len(self.recent))]
        return held.post or held

    def _new(self, kept: list[Held], topic: str, columns: dict[str, object], post: Held | None = None) -> Held:
        held = Held(topic, columns, post)
        kept.append(held)
        self.recent.append(held)
        if post is not None:
            post.columns["num_comments"] = int(str(post.columns["num_comments"])) + 1
        return held

    def _again(self, kept: list[Held], deleted: float) -> None:
        """Let somebody's post or comment have another score, or be taken back."""
        held = kept[-1 - self.forum.tail(ANEW, len(kept))]
        if held.gone:
            return self._act()  # nobody edits what was taken back

        def again(now: str) -> Held:
            held.gone = self.forum.chance() < deleted
            held.columns["score"] = (
                int(str(held.columns["score"])) + self.forum.tail(4, 5000) - (self.forum.chance() < 0.2)
            )
            held.columns["timestamp"] = now
            if held.gone:
                held.columns["content"] = DELETED
            return held

        self._due.append(again)
        return None


def newest_of(header: str, records: Iterator[Record]) -> list[dict[str, object]]:
    """Return the newest record of each thing, by column, in the order in which things were written."""
    found: dict[str, dict[str, object]] = {}
    for record in records:
        found[record.id] = dict(zip(header.split(","), record.columns, strict=True))
    return list(found.values())


def live(seed: int, start: str, every_us: int) -> int:
    """Write what comes after the history, until nobody reads it any more; return the exit code."""
    start_us = (datetime.fromisoformat(start) - EPOCH) // timedelta(microseconds=1)
    forum = Live(Forum(SEED, POSTS, COMMENTS), seed, start_us)
    try:
        for topic, record in forum.records(start_us, every_us):
            sys.stdout.write(f"{topic}\t{json.dumps(record, ensure_ascii=False)}\n")
    except BrokenPipeError:
        # the interpreter flushes stdout once more at exit; give it somewhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


# ---- the files ------------------------------------------------------------------------------------------------------


def tables_of(seed: int, posts: int, comments: int) -> dict[str, str]:
    """Return {path below data/: text} of the three files, each in order of time."""
    forum = Forum(seed, posts, comments)
    found = {
        "posts": (POST_COLUMNS, list(forum.post_records())),
        "comments": (COMMENT_COLUMNS, list(forum.comment_records())),
        "users": (USER_COLUMNS, forum.user_records),
    }
    return {
        f"reddit/reddit.{name}/{name}.csv.gz": pinned.csv_of(header, (r.columns for r in sorted(records)))
        for name, (header, records) in found.items()
    }


def main(argv: list[str] | None = None) -> int:
    """Write the three files, or with --check compare; return the exit code."""
    parser = argparse.ArgumentParser(description="Generate data/reddit: a made-up forum, the same bytes every time.")
    parser.add_argument("--seed", type=int, default=SEED, help="the start number (%(default)s)")
    parser.add_argument("--posts", type=int, default=POSTS, help="posts, edits not counted (%(default)s)")
    parser.add_argument("--comments", type=int, default=COMMENTS, help="comments, edits not counted (%(default)s)")
    parser.add_argument("--out", type=Path, help="write there, any history; default: data/reddit, the stated one")
    parser.add_argument("--check", action="store_true", help="compare with the files there, write nothing")
    parser.add_argument("--live", action="store_true", help="write what comes after the history to stdout, without end")
    parser.add_argument("--start", default=f"{START + timedelta(days=DAYS):%Y-%m-%dT%H:%M:%SZ}", help="its first time")
    parser.add_argument("--every-us", type=int, default=10_000, help="between two records, microseconds (%(default)s)")
    options = parser.parse_args(argv)
    if options.live:
        return live(options.seed, options.start, options.every_us)
    tables = tables_of(options.seed, options.posts, options.comments)
    if options.out is None:
        return pinned.settle(tables, SHA256, check=options.check, script="build_reddit.py")
    options.out.mkdir(parents=True, exist_ok=True)
    for name, text in tables.items():
        path = options.out / Path(name).name
        path.write_bytes(pinned.packed(text))
        sys.stdout.write(
            f"{path}: {text.count(chr(10)) - 1} rows, sha256 {hashlib.sha256(text.encode()).hexdigest()}\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

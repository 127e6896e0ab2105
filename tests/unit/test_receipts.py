"""Receipts: what goes in comes out, and no altered character passes."""

import hashlib
import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braid import receipts
from braid.aggregates import lift_event, merge_states
from braid.errors import ReceiptRefused
from braid.receipts import Question, Receipt, decode, digest, encode
from braid.views import digest as digest_of_view

RECEIPT = Receipt(
    "rides", "rides_by_minute", Question(keys=(("city", ("Lima", "Zürich")),), from_us=0, limit=3, order="desc"),
    3, 412, 431, {"rides-log:0": 6210, "rides-log:1": 5873}, "1d0c" * 16, 2, 128, "227065dd" * 8,
)  # fmt: skip
texts = st.text(max_size=12)
numbers = st.integers(0, 2**63)
receipts_ = st.builds(
    Receipt, texts, texts,
    st.builds(
        Question, st.sampled_from(["merged", "batch", "speed"]),
        st.lists(st.tuples(texts, st.lists(texts, max_size=3).map(tuple)), max_size=3).map(tuple),
        st.none() | numbers, st.none() | numbers, st.booleans(), st.sampled_from(["asc", "desc"]), st.none() | numbers,
    ),
    numbers, numbers, numbers, st.dictionaries(texts, numbers, max_size=4), texts, numbers, numbers, texts,
)  # fmt: skip


@given(receipts_)
def test_a_receipt_survives_its_token(receipt: Receipt) -> None:
    token = encode(receipt)
    assert decode(token) == receipt and decode(f" {token}\n") == receipt
    assert set(token) <= {*string.ascii_letters, *string.digits, *"-_."}


def test_every_single_altered_lost_or_added_character_is_found() -> None:
    token = encode(RECEIPT)
    chance = random.Random(4)
    alphabet = string.ascii_letters + string.digits + "-_.=é"
    for at in range(len(token)):
        others = [c for c in alphabet if c != token[at]]
        wrong = [token[:at] + c + token[at + 1 :] for c in (others if at % 37 == 0 else chance.sample(others, 4))]
        wrong += [token[:at] + token[at + 1 :], token[:at] + chance.choice(alphabet) + token[at:]]
        for altered in wrong:
            if altered != token:
                with pytest.raises(ReceiptRefused):
                    decode(altered)


@pytest.mark.parametrize("text", ["", "hello", "braid1", "braid1.", "braid1..", "braid2.e30.x", "sha256:227065dd"])
def test_what_is_no_receipt_is_called_so(text: str) -> None:
    with pytest.raises(ReceiptRefused, match=r"^receipt: expected "):
        decode(text)


def test_the_text_of_an_altered_receipt_says_what_to_do() -> None:
    token = encode(RECEIPT)
    with pytest.raises(ReceiptRefused) as refused:
        decode(token[:40] + ("A" if token[40] != "A" else "B") + token[41:])
    assert str(refused.value).endswith("a character was changed or lost: copy it again from the answer")


def test_a_receipt_of_another_version_with_a_right_check_is_refused_by_name() -> None:
    head = f"{receipts.PREFIX}.{receipts._base64(b'{}')}"
    with pytest.raises(ReceiptRefused, match="another version"):
        decode(f"{head}.{receipts._check(head)}")


@given(st.lists(st.tuples(st.integers(0, 3), texts, st.integers(-9, 9)), max_size=8), st.randoms())
def test_the_digest_does_not_depend_on_the_order_of_rows(
    events: list[tuple[int, str, int]], chance: random.Random
) -> None:
    view = {}
    for start, key, x in events:
        state = lift_event(x, [x, None])
        place = (start, (key, "k"))
        view[place] = merge_states(view[place], state) if place in view else state
    rows = [(w, k, s.n, s.fp, [(m.n, m.sum, m.sumsq, m.min, m.max) for m in s.measures]) for (w, k), s in view.items()]
    first = digest(rows)
    chance.shuffle(rows)
    assert digest(rows) == first == digest_of_view(view)


def test_every_number_of_a_state_is_in_the_digest() -> None:
    row = (600, ("fen",), 3, 7, [(2, 5, 13, 2, 3), (0, 0, 0, None, None)])
    seen = {digest([row]), digest([]), digest([row, (0, *row[1:])])}
    changed = [
        (601, *row[1:]), (600, ("fens",), *row[2:]), (*row[:2], 4, *row[3:]), (*row[:3], 8, row[4]),
        *((*row[:4], [tuple(v + (j == i) for j, v in enumerate(row[4][0])), row[4][1]]) for i in range(5)),
        (*row[:4], [row[4][1], row[4][0]]),
    ]  # fmt: skip
    seen |= {digest([other]) for other in changed}
    assert len(seen) == 3 + len(changed)


def test_the_canonical_bytes_are_those_of_the_docstring() -> None:
    line = '[600,["\\u00e9"],3,7,[[2,5,13,2,3],[0,0,0,null,null]]]\n'
    assert (
        digest([(600, ("é",), 3, 7, [(2, 5, 13, 2, 3), (0, 0, 0, None, None)])])
        == hashlib.sha256(line.encode()).hexdigest()
    )

"""Windows are half-open, lie on one grid from the epoch, and `all` is one of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from braid import windows

times = st.integers(-(10**15), 7_258_118_400_000_000)
lengths = st.sampled_from([1_000_000, 60_000_000, 600_000_000, 86_400_000_000, 7])


@given(times, lengths)
def test_every_time_lies_in_exactly_its_window(event_us: int, window_us: int) -> None:
    start = windows.start_us(event_us, window_us)
    end = windows.end_us(start, window_us)
    assert end is not None
    assert start <= event_us < end
    assert start % window_us == 0
    assert end - start == window_us


@given(times, lengths)
def test_the_first_microsecond_after_a_window_is_in_the_next(event_us: int, window_us: int) -> None:
    end = windows.end_us(windows.start_us(event_us, window_us), window_us)
    assert end is not None
    assert windows.start_us(end, window_us) == end
    assert windows.start_us(end - 1, window_us) == end - window_us


@given(times)
def test_all_time_is_one_window(event_us: int) -> None:
    assert windows.start_us(event_us, windows.ALL_US) == 0
    assert windows.end_us(0, windows.ALL_US) is None


@given(times, lengths, st.integers(1, 60))
def test_a_coarser_window_holds_the_whole_finer_one(event_us: int, fine_us: int, times_finer: int) -> None:
    coarse_us = fine_us * times_finer
    through = windows.coarsen(windows.start_us(event_us, fine_us), coarse_us)
    assert through == windows.start_us(event_us, coarse_us)

from __future__ import annotations

import pytest

from vlp_zoo.schedules import warmup_cosine, warmup_poly


def test_both_schedules_warm_up_and_fall() -> None:
    for schedule in (warmup_cosine, warmup_poly):
        rates = [schedule(step, 10, 100) for step in range(150)]
        assert rates[0] == 0
        assert rates[10] == 1
        assert rates[:11] == sorted(rates[:11])
        assert rates[10:] == sorted(rates[10:], reverse=True)
        assert rates[55] == pytest.approx(0.5)
        assert not any(rates[100:])


def test_no_warm_up_starts_at_the_peak() -> None:
    assert warmup_cosine(0, 0, 10) == 1
    assert warmup_poly(5, 0, 10) == 0.5


def test_a_warm_up_of_the_whole_run_has_nothing_behind_it() -> None:
    for schedule in (warmup_cosine, warmup_poly):
        rates = [schedule(step, 4, 4) for step in (0, 2, 4, 5)]
        assert rates == [0, 0.5, 0, 0]


@pytest.mark.parametrize("bad", [(-1, 0, 10), (0, -1, 10), (0, 0, -1)])
def test_impossible_schedules_are_refused(bad: tuple[int, int, int]) -> None:
    for schedule in (warmup_cosine, warmup_poly):
        with pytest.raises(ValueError, match="total"):
            schedule(*bad)

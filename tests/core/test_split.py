"""Held-out pixels: the same for everybody, and independent of what is shown."""

import pytest

from udvd_core.errors import InputError
from udvd_core.split import Split


def test_a_choice_depends_on_seed_and_frame_only():
    held, visible = Split(3).masks([7, 2], (4, 50))
    for k, number in enumerate((7, 2)):
        assert (held[k] == Split(3).held(number, (4, 50))).all()
        assert (visible[k] == Split(3).visible(number, (4, 50))).all()
    assert (held[0] != held[1]).any()
    assert (held[0] != Split(4).held(7, (4, 50))).any()


def test_share():
    held, _ = Split(0, share=0.1).masks(range(50), (8, 100))
    assert held.mean() == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize("guard", [(0, 0), (0, 2), (1, 1), (2, 3)])
def test_visible_is_all_beyond_the_guard_and_nothing_else(guard):
    split = Split(1, 0.02, guard)
    held, visible = split.held(5, (12, 40)), split.visible(5, (12, 40))
    for row in range(12):
        for channel in range(40):
            near = held[
                max(0, row - guard[0]) : row + guard[0] + 1, max(0, channel - guard[1]) : channel + guard[1] + 1
            ]
            assert visible[row, channel] != near.any()


def test_wide_guards_hold_out_less():
    assert Split.guarded(0, (0, 1)).share == 0.05
    _, visible = Split.guarded(0, (1, 3)).masks(range(20), (30, 200))
    assert visible.mean() > 0.8


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"share": 0.0}, {"share": 1.0}, {"guard": (0, -1)}])
def test_impossible_splits_are_refused(wrong):
    with pytest.raises(InputError, match="want a seed and a guard"):
        Split(**wrong)

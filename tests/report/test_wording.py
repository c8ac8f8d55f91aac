"""Texts of a report."""

import pytest

from tf_simclr.report import wording


@pytest.mark.parametrize("length", [12, 18, 40])
def test_ten_long_names_stay_different_names(length):
    names = [f"{'Felis silvestris ' * 3}catus {number}" for number in range(10)]
    shortened = [wording.shortened(name, length) for name in names]
    assert {len(name) for name in shortened} == {length}
    assert len(set(shortened)) == 10


def test_a_short_name_stays_as_it_is():
    assert wording.shortened("Felis catus", 11) == "Felis catus"

"""Lines -> SVG: axes, and what tells lines apart."""

import re

from tf_simclr.report import line_chart


def texts(lines, axes):
    """What is written in a chart."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", line_chart.draw(lines, axes, "x"))


def test_small_changes_look_small_on_an_axis_from_zero():
    lines = [line_chart.Line("a", [1, 2], [0.0885, 0.0850])]
    assert "0.00" not in texts(lines, line_chart.Axes("step"))
    assert "0.00" in texts(lines, line_chart.Axes("step", from_zero=True))


def test_sixty_four_runs_look_different():
    assert len({line_chart.look(number) for number in range(64)}) == 64


def test_of_many_levels_one_is_named():
    lines = [line_chart.Line("a", [1, 2], [1, 9])]
    assert texts(lines, line_chart.Axes("step", chances=(2, 3))).count("chance") == 2
    assert texts(lines, line_chart.Axes("step", chances=(2, 3, 4))).count("chance") == 1

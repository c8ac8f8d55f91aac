"""How a planned recipe is printed."""

from tests.commands.planning.test_rules import THUMBNAILS
from tf_simclr.commands.planning.budget import StagePlan
from tf_simclr.commands.planning.recipe_text import Recipe


def test_the_time_in_all_is_that_of_its_rows():
    """What went by before the first stage is part of the budget, too."""
    plans = {"pretrain": StagePlan(1000, 8.0, 90.0), "finetune": StagePlan(200, 40.0, 27.0)}
    recipe = Recipe({}, {}, {}, [], plans, THUMBNAILS, elapsed=109.0)
    lines = recipe.table().splitlines()[-5:]
    assert [line.split()[-1] for line in lines] == ["time", "1:49", "1:30", "0:27", "3:46"]
    assert lines[1].startswith("reading, trials ") and lines[-1].startswith("in all ")
    assert len({len(line) for line in lines}) == 1

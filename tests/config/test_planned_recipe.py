"""The recipe that was planned before in a run directory."""

import pytest
import yaml

from tf_simclr.config import planned_recipe, recipes
from tf_simclr.config.registry import MODES
from tf_simclr.errors import UserError

RECIPE = {
    "dataset": "folder:photos",
    "labels": "labels.csv",
    "image_size": 64,
    "budget": "60m",
    "train_mode": "pretrain,finetune",
    "finetune": {"label_fraction": 0.5},
}


@pytest.fixture
def content(tmp_path):
    """A function: flags, flags of stages -> what is planned or kept for them."""
    (tmp_path / recipes.PLANNED_FILE).write_text(yaml.safe_dump(RECIPE))

    def content(flags=(), stage_flags=()):
        flags = {"dataset": "folder:./photos/", **dict(flags), "model_dir": str(tmp_path)}
        return planned_recipe.content(flags, dict(stage_flags), lambda *_: {"seed": 1})

    return content


@pytest.mark.parametrize("budget", ["1h", "3600s", "60M"])
def test_the_same_command_in_other_words(content, budget):
    """It keeps the plan; also what is not said again is as planned."""
    for flags in ({}, {"labels": "labels.csv", "image_size": "64", "seed": "3"}):
        values, note = content({**flags, "budget": budget})
        assert values == RECIPE and "the plan of this run is kept" in note
    values, _ = content({}, {"finetune": {"label_fraction": "0.50"}})
    assert values == RECIPE


def test_another_budget(content):
    for budget in ("61m", "soon"):
        with pytest.raises(UserError, match=f"--budget={budget}: .* was planned for 60m"):
            content({"budget": budget})


@pytest.mark.parametrize(
    ("flags", "stage_flags", "change"),
    [
        ({"labels": "none"}, {}, "--labels=none: .* was planned for --labels=labels.csv"),
        ({"dataset": "folder:other/photos"}, {}, "--dataset=folder:other/photos: "),
        ({"image_size": "32"}, {}, "--image_size=32: .* was planned for --image_size=64"),
        ({}, {"pretrain": {"label_fraction": "0.5"}}, "--pretrain.label_fraction=0.5: .*=1.0"),
    ],
)
def test_other_images_or_labels(content, tmp_path, flags, stage_flags, change):
    """The plan is not of them: it is made anew, unless a stage was trained by it."""
    values, note = content({**flags, "budget": "9m"}, stage_flags)
    assert values == {"seed": 1} and note.endswith("nothing was trained: it is planned anew")
    (tmp_path / "pretrain").mkdir()
    with pytest.raises(UserError, match=f"{change}.* or another --model_dir"):
        content(flags, stage_flags)


def test_a_stage_that_has_not_begun_gets_what_it_is_given(content, tmp_path):
    flags = {"finetune": {"label_fraction": "1"}}
    (tmp_path / "pretrain").mkdir()
    values, note = content({}, flags)
    assert values == RECIPE and "the plan of this run is kept" in note
    (tmp_path / "finetune").mkdir()
    with pytest.raises(UserError, match=r"--finetune.label_fraction=1.0: .*=0.5"):
        content({}, flags)


def test_candidates_have_begun(content, tmp_path):
    (tmp_path / "candidates").mkdir()
    with pytest.raises(UserError, match="its training has begun"):
        content({"labels": "none"})


def test_labels_that_came_after_the_training(content, tmp_path):
    (tmp_path / recipes.CONFIG_FILE).write_text("{}")
    (tmp_path / "pretrain").mkdir()
    advice = f"--train_mode=finetune,distill --checkpoint={tmp_path}/pretrain"
    with pytest.raises(UserError, match=advice):
        content({"labels": "more.csv"})
    with pytest.raises(UserError, match=r"or another --model_dir$"):
        content({"labels": "none"})


def test_a_length_is_planned_around_where_a_time_is_given():
    flags = {"dataset": "folder:photos", "train_epochs": 3}
    mode = MODES["train_then_eval"]
    assert not planned_recipe.is_default(flags, mode)
    assert planned_recipe.is_default({**flags, "budget": "5m"}, mode)

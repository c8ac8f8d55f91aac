"""Each file of official_configs runs two steps of each of its stages, on a small network and eight digits a step."""

import math

import pytest

from tests.helpers.training import Training
from tf_simclr import config
from tf_simclr.config import command_line, recipes
from tf_simclr.config.stages import mode_of, separate_sections, stage_configs
from tf_simclr.models import resnet

SMALL = {
    "dataset": "digits",
    "eval_split": "test",
    "image_size": 16,
    "width_multiplier": 0.05,
    "train_batch_size": 8,
    "train_steps": 2,
}
RECIPES = sorted(recipes.CONFIG_DIR.glob("*.yaml"))


SHARES = {
    "label_fraction",
    "labels_per_class",
}  # of the labels: eight digits a step have theirs whatever the share
TRAINED = {}  # {what of a configuration has a part in two steps: their metrics}: recipes for several shares of labels train the same


def trained_by(settings):
    """The flags that `Training` reads, those of any section that it could, as a key."""
    fields, after = config.fields(), ("eval", "export", "embed", "report")
    return tuple(
        (name, value)
        for name, value in settings.flat().items()
        if fields[name].section not in after
        and name not in SHARES | {"model_dir", "checkpoint", "teacher_checkpoint", "train_epochs"}
    )


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_two_steps(path, monkeypatch):
    for settings in stage_configs(*separate_sections(recipes.read(path)), SMALL):
        block, _ = resnet.FAMILY[settings.model.resnet_depth]
        monkeypatch.setitem(
            resnet.FAMILY, settings.model.resnet_depth, (block, (1,))
        )  # one group is all it takes
        key = trained_by(settings)
        if key not in TRAINED:
            TRAINED[key] = Training(settings).run(2)
        assert all(math.isfinite(value) for metrics in TRAINED[key] for value in metrics.values())


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_only_what_differs_from_the_defaults(path):
    defaults = config.Config().flat()
    common, sections = separate_sections(recipes.read(path))
    assert [
        name for name, value in common.items() if value == defaults[name] and name != "dataset"
    ] == []
    for stage, section in sections.items():
        below = {
            **defaults,
            **common,
            **(sections.get(mode_of(stage), {}) if stage != mode_of(stage) else {}),
        }
        assert [name for name, value in section.items() if value == below[name]] == [], stage


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_header_has_the_command(path):
    header = path.read_text().split("\n\n")[0]
    assert "python run.py --mode=train_then_eval" in header
    assert path.stem in header or path.stem == recipes.QUICK_START


def test_docs_have_the_tables_of_flags():
    page = (recipes.CONFIG_DIR.parent / "docs" / "flags.md").read_text()
    assert command_line.markdown() in page, "docs/flags.md is not that of the code: regenerate it"

"""Each recipe of official_configs: two steps of each of its stages, and what it may contain."""

import math

import pytest

from tests.helpers.training import Training, same_batches
from tf_simclr import config
from tf_simclr.config import command_line, recipes
from tf_simclr.config.registry import PRETEXTS, SEMI_METHODS
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
RECIPES = [recipes.CONFIG_DIR / f"{name}.yaml" for name in recipes.names()]


# Sections and flags that make no difference to two steps. Eight digits a step have their labels
# whatever the share of labels is.
LATER_SECTIONS = ("eval", "export", "embed", "predict", "report")
WITHOUT_EFFECT = {
    *("label_fraction", "labels_per_class"),
    *("model_dir", "checkpoint", "teacher_checkpoint", "train_epochs", "seed", "labels_chosen"),
    *("min_steps", "warmup_epochs", "checkpoint_epochs", "checkpoint_steps"),
    # Numbers of which the same is computed.
    *("learning_rate", "learning_rate_scaling", "weight_decay", "temperature", "crop_area"),
    *("color_jitter_strength", "unlabeled_ratio", "unlabeled_weight", "ema_decay"),
}
# {flags with an effect: metrics of two steps}: recipes for several shares of labels train the same.
TRAINED = {}


def flags_with_effect(settings):
    """The flags that two steps may depend on, as a key."""
    fields = config.fields()
    return tuple(
        (name, value)
        for name, value in settings.flat().items()
        if fields[name].section not in LATER_SECTIONS and name not in WITHOUT_EFFECT
    )


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_two_steps(path, monkeypatch):
    common, sections = separate_sections(recipes.read(path))
    for settings in stage_configs(common, sections, SMALL):
        depth = settings.model.resnet_depth
        block, _ = resnet.FAMILY[depth]
        monkeypatch.setitem(resnet.FAMILY, depth, (block, (1,)))  # one group is all it takes
        key = flags_with_effect(settings)
        if key not in TRAINED:
            training = Training(settings)
            TRAINED[key] = [training.step(batch) for batch in same_batches(training, 2)]
        for metrics in TRAINED[key]:
            assert all(map(math.isfinite, metrics.values()))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_only_what_differs_from_the_defaults(path):
    defaults = config.Config().flat()
    common, sections = separate_sections(recipes.read(path))
    assert unchanged(common, defaults) <= {"dataset"}
    for stage, section in sections.items():
        overridden = {**defaults, **common}
        if stage != mode_of(stage):
            overridden |= sections.get(mode_of(stage), {})
        assert not unchanged(section, overridden), stage


def unchanged(values, overridden):
    """The flags that have the value that they override."""
    return {name for name, value in values.items() if value == overridden[name]}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_header_has_the_command(path):
    header = path.read_text().split("\n\n")[0]
    assert "python run.py --mode=train_then_eval" in header
    assert path.stem in header or path.stem == recipes.QUICK_START


def stages_of(name):
    """{stage: its configuration} of a recipe."""
    common, sections = separate_sections(recipes.read(recipes.CONFIG_DIR / f"{name}.yaml"))
    configs = stage_configs(common, sections, {"model_dir": "x"})
    return {settings.train.model_dir.removeprefix("x/"): settings for settings in configs}


@pytest.mark.parametrize(
    ("name", "from_random_weights"),
    [("semi_supervised_study", ["fixmatch"]), ("digits_semi", ["fixmatch", "freematch"])],
)
def test_every_method_for_images_without_label_starts_from_the_same_pretraining(
    name, from_random_weights
):
    starts = {}
    for stage, settings in stages_of(name).items():
        if mode_of(stage) == "semi":
            start = settings.objective.checkpoint
            starts.setdefault(start, []).append(settings.semi.semi_method)
    assert sorted(starts["x/pretrain"]) == sorted(SEMI_METHODS)
    assert sorted(starts[""]) == from_random_weights


def test_every_pretext_task_is_in_one_of_the_two_studies():
    compared = set()
    for name in ("pretext_study", "contrastive_study"):
        stages = stages_of(name)
        pretrained = [stage for stage in stages if mode_of(stage) == "pretrain"]
        compared |= {stages[stage].pretext.pretext for stage in pretrained}
        for stage in pretrained:
            finetuned = stages[stage.replace("pretrain", "finetune")]
            assert finetuned.objective.checkpoint == f"x/{stage}"
    assert compared == set(PRETEXTS)


def test_docs_have_the_tables_of_flags():
    page = (recipes.CONFIG_DIR.parent / "docs" / "flags.md").read_text()
    assert command_line.markdown() in page, "docs/flags.md is not that of the code: regenerate it"

"""What --config=auto decides: images and labels -> a plan, without any training."""

import dataclasses
import pathlib

import numpy as np
import pytest

from tf_simclr import config
from tf_simclr.commands.planning import facts, networks, recipe_text, rules
from tf_simclr.commands.planning.facts import Facts
from tf_simclr.config import stages

PHOTOS = Facts(num_images=4000, num_labels=0, class_counts=(), num_evaluated=400, short_side=300)
THUMBNAILS = Facts(
    num_images=3000, num_labels=50, class_counts=(10,) * 5, num_evaluated=300, short_side=32
)
DIGITS = dataclasses.replace(THUMBNAILS, short_side=8, is_gray=True, is_drawn=True)
GRAY = dataclasses.replace(PHOTOS, num_images=500, is_gray=True)
LABELED = Facts(
    num_images=60, num_labels=60, class_counts=(20, 20, 20), num_evaluated=8, short_side=400
)
MANY = dataclasses.replace(THUMBNAILS, num_labels=3000, class_counts=(600,) * 5)
ONE_CLASS = dataclasses.replace(LABELED, class_counts=(60, 0))
RARE = Facts(
    num_images=20_000,
    num_labels=20_000,
    class_counts=(9_900, 9_900, 200),
    num_evaluated=2_000,
    short_side=64,
)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (PHOTOS, {"train_mode": "pretrain", "train_batch_size": 64, "use_blur": None}),
        (THUMBNAILS, {"train_mode": "supervised,pretrain,finetune,distill", "use_blur": False}),
        (THUMBNAILS, {"use_flip": None, "crop_area": [0.2, 1.0], "class_weights": None}),
        (DIGITS, {"use_flip": False, "crop_area": [0.6, 1.0], "grayscale_probability": 0.0}),
        (GRAY, {"grayscale_probability": 0.0, "use_flip": None}),
        (LABELED, {"train_mode": "supervised,pretrain,finetune", "train_batch_size": 16}),
        (RARE, {"class_weights": "balanced", "train_batch_size": 256}),
        (PHOTOS, {"pretrain": None}),
        (RARE, {"pretrain": {"lineareval_while_pretraining": False}}),
        (DIGITS, {"pretrain": {"lineareval_while_pretraining": False}}),
        (MANY, {"train_mode": "supervised,pretrain,finetune", "learning_rate": 0.075}),
        (ONE_CLASS, {"train_mode": "pretrain", "supervised": None, "finetune": None}),
    ],
)
def test_decisions(images, expected):
    values = recipe_text.values_of(rules.decide(images))
    assert {name: values.get(name) for name in expected} == expected


def test_labels_of_one_class():
    stages_decision, *_ = rules.decide(ONE_CLASS)
    assert stages_decision.reason.startswith("all labels are of one class")


def test_many_labels():
    """A peak of 0.1 in pretraining whatever the batch, and milder crops for labels."""
    larger = dataclasses.replace(MANY, num_images=30_000)
    given = dataclasses.replace(MANY, batch_size=512)
    for images, size, label_size in ((MANY, 64, 64), (larger, 256, 64), (given, 512, 512)):
        sections = recipe_text.values_of(rules.decide(images))
        pretrain, finetune = sections["pretrain"], sections["finetune"]
        assert sections["train_batch_size"] == size
        assert pretrain["learning_rate"] * size / 256 == pytest.approx(0.1)
        assert finetune["learning_rate"] * label_size / 256 == pytest.approx(0.075)
        assert finetune["crop_area"] == sections["supervised"]["crop_area"] == [0.5, 1]
    others = (
        {"short_side": 300},
        {"num_labels": 900},
        {"class_counts": (2700, 300)},
        {"is_gray": True, "is_drawn": True},
    )
    assert not any(rules.has_many_labels(dataclasses.replace(MANY, **facts)) for facts in others)


@pytest.mark.parametrize(
    ("given", "modes"),
    [
        ({"optimizer": "lars"}, ()),
        ({"finetune.optimizer": "adam"}, ()),
        ({}, ("finetune", "distill")),
    ],
)
def test_momentum_is_not_planned_for_other_weights(given, modes):
    """Its rates are too high for another optimizer, and for weights that come from elsewhere."""
    sections = recipe_text.values_of(rules.decide(MANY, given, modes))
    assert "optimizer" not in sections["finetune"] and "optimizer" not in sections["pretrain"]
    assert sections["finetune"]["learning_rate"] == 0.005
    assert sections["finetune"]["crop_area"] == [0.5, 1]
    others = recipe_text.values_of(rules.decide(MANY, {"distill.optimizer": "adam"}))
    assert others["finetune"]["optimizer"] == "momentum"


@pytest.mark.parametrize("images", [PHOTOS, THUMBNAILS, MANY, DIGITS, GRAY, LABELED, RARE])
def test_decisions_are_configurations(images):
    """Every flag of a rule exists, in every stage."""
    values = recipe_text.values_of(rules.decide(images))
    common, sections = stages.separate_sections(values)
    for settings in stages.stage_configs({**common, "model_dir": "run"}, sections):
        assert isinstance(settings, config.Config)
    assert all(rule.measured for rule in rules.RULES)


@pytest.mark.parametrize(
    ("side", "sizes"),
    [(8, {16}), (28, {32}), (32, {32}), (40, {40}), (50, {64}), (100, {64, 96}), (224, {224, 64})],
)
def test_no_image_is_enlarged_but_the_smallest(side, sizes):
    possible = networks.candidates(dataclasses.replace(THUMBNAILS, short_side=side))
    found = {network.image_size for network in possible}
    assert sizes <= found and max(found) == max(sizes)
    assert len(set(possible)) == len(possible)


def test_colors_and_strokes(rng):
    photos = rng.integers(0, 256, [20, 32, 32, 3], dtype=np.uint8)
    gray = np.repeat(photos[..., :1], 3, -1)
    drawn = np.zeros_like(gray)
    drawn[:, 8:24, 12:16] = 255
    mixed = np.concatenate([gray, photos[:5]])
    assert [facts.are_gray(images) for images in (photos, gray, drawn, mixed)] == [
        False,
        True,
        True,
        False,
    ]
    images = (photos, gray, drawn, 255 - drawn)
    assert [facts.are_drawn(each) for each in images] == [False, False, True, True]


def test_a_class_without_labels_is_not_rare():
    assert not dataclasses.replace(THUMBNAILS, class_counts=(10, 0, 10)).has_rare_class
    assert dataclasses.replace(THUMBNAILS, class_counts=(10, 2, 10)).has_rare_class


def test_docs_have_the_table():
    page = pathlib.Path(__file__).parents[3] / "docs" / "auto.md"
    assert rules.markdown() in page.read_text()

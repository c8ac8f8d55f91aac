"""The plan that is printed before a training."""

import dataclasses

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tests.helpers.configurations import TINY, parse_command_line
from tf_simclr import config
from tf_simclr.commands.planning import stage_table
from tf_simclr.config import stages
from tf_simclr.data import datasets, image_sizes
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.training import loop
from tf_simclr.training.training_data import load_training_data, num_images_of

FACTS = stage_table.ImageFacts(
    name="folder:photos",
    split="train",
    num_images=90,
    num_unlabeled=400,
    num_labels=40,
    label_counts={f"kind {number}": 2 for number in range(20)},
    num_held_out=9,
    eval_split="validation",
    num_evaluated=10,
    sizes=np.array([[30, 40], [300, 400], [480, 640]]),
)


def chain(tmp_path, **flags):
    common = {**TINY, "model_dir": str(tmp_path / "run"), "train_steps": 0, "train_epochs": 60}
    return stages.stage_configs({**common, "train_mode": "pretrain,finetune,distill", **flags}, {})


def rows_of(configs, num_images):
    return [
        stage_table.stage_row(settings, f"stage{i}", num_images)
        for i, settings in enumerate(configs)
    ]


def test_images():
    text = stage_table.text(FACTS, [])
    assert max(map(len, text.splitlines())) <= stage_table.COLUMNS
    assert text.endswith(stage_table.RATE)  # not that of the flag
    words = " ".join(text.split())
    for expected in (
        "90 of folder:photos, split train, 400 without labels besides",
        "9 held out for validation, 10 of split validation for evaluation",
        "40 of 90 images have one that is used",
        "20: kind 0 (2), kind 1 (2)",
        "and 8 more",
        "median 400x300, smallest 40x30 pixels (3 images looked at)",
    ):
        assert expected in words


def test_stages(tmp_path):
    pretrain, finetune, distill = rows_of(chain(tmp_path), num_images=100)
    assert pretrain == ("stage0", "R18 x0.07", "16", "60", "751", "8", "0.00156", "random")
    assert finetune[-1] == "pretrain"
    assert distill[-1] == "random, teacher finetune"
    lines = stage_table.text(FACTS, [pretrain, finetune, distill]).splitlines()
    assert max(map(len, lines)) <= stage_table.COLUMNS


def test_steps_and_epochs(tmp_path):
    (by_steps, *_) = chain(tmp_path, train_steps=50)
    assert stage_table.stage_row(by_steps, "a", 100)[3:5] == ("4", "50")
    assert stage_table.stage_row(by_steps, "a", None)[3:5] == ("?", "50")
    (by_epochs, *_) = chain(tmp_path)
    assert stage_table.stage_row(by_epochs, "a", None)[3:5] == ("60", "?")


def test_long_starts_are_wrapped(tmp_path):
    (settings,) = stages.stage_configs(
        {**TINY, "train_mode": "finetune", "checkpoint": "/somewhere/" + "long" * 30}, {}
    )
    lines = stage_table.text(FACTS, [stage_table.stage_row(settings, "finetune", 10)]).splitlines()
    assert max(map(len, lines)) <= stage_table.COLUMNS
    assert "".join(line[-40:].strip() for line in lines).count("long") > 20


def test_command_line_overrides_every_stage():
    configs, _ = parse_command_line(
        "--config=digits_quickstart", "--train_epochs=15", "--model_dir=run"
    )
    epochs = [row[3] for row in rows_of(configs, num_images=None)]
    assert epochs[1] == epochs[3] == "15"


def test_images_of_other_stages(tmp_path):
    first, finetune, distill = chain(tmp_path, labels_per_class=2)
    data = load_training_data(
        first,
        directory=RunDirectory(first.train.model_dir, first),
        related=[],
        later=[],
        num_replicas=1,
    )
    assert num_images_of(first, first, data) == 1437
    assert num_images_of(finetune, first, data) == 20
    assert num_images_of(distill, first, data) == 1437
    measured = first.replace(value_range="0,4095")  # as that of a stage whose images are loaded
    assert num_images_of(distill.replace(image_size=24), measured, data) == 1437
    assert (
        num_images_of(finetune.replace(label_fraction=0.5, labels_per_class=0), first, data) is None
    )


@pytest.fixture
def folder(tmp_path):
    for number, size in enumerate(((40, 30), (40, 30), (64, 48), (20, 10))):
        path = tmp_path / "photos" / "train" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(noise).save(path)
    return tmp_path / "photos"


def test_sizes_are_read_of_the_files(folder):
    settings = config.build({**TINY, "dataset": f"folder:{folder}"})
    source = datasets.load(settings.data, "train")
    sizes = image_sizes.sizes_of(source, 0)
    assert sorted(sizes.tolist()) == [[10, 20], [30, 40], [30, 40], [48, 64]]
    records = source.records.copy()
    records[0] = b"broken since the folder was scanned"
    assert len(image_sizes.sizes_of(dataclasses.replace(source, records=records), 0)) == 3


def test_a_turned_png_is_not_decoded_for_its_size(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6  # by a quarter
    for kind in "ab":
        (tmp_path / "train" / kind).mkdir(parents=True)
        Image.new("RGB", (40, 30)).save(tmp_path / "train" / kind / "1.png", exif=exif)
    settings = config.build({**TINY, "dataset": f"folder:{tmp_path}"})
    source = datasets.load(settings.data, "train")

    def refuse(image):
        raise AssertionError("it is decoded")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", refuse)
    assert image_sizes.sizes_of(source, 0).tolist() == [[40, 30]] * 2


@pytest.mark.usefixtures("shallow")
def test_it_is_printed_once_before_the_training(main, tmp_path, log, monkeypatch):
    monkeypatch.setattr(loop, "fit", lambda *arguments: None)
    flags = [f"--{name}={value}" for name, value in TINY.items() if name != "train_steps"]
    status, stderr = main(
        *flags,
        "--train_mode=pretrain,finetune",
        "--mode=train",
        "--train_steps=1",
        "--labels_per_class=2",
        f"--model_dir={tmp_path / 'run'}",
    )
    assert status == 0, stderr
    plans = [record for record in log.records if record.msg.startswith("the plan")]
    assert len({id(record) for record in plans}) == 1
    lines = plans[0].getMessage().splitlines()
    assert any("20 of 1437" in line for line in lines)
    names = [line.split()[0] for line in lines if line][-3:]
    assert names == ["pretrain", "finetune", "rate:"]
    assert max(map(len, lines)) <= stage_table.COLUMNS

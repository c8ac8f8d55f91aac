"""What is odd about a run is said before it begins, and what is as it should be is not."""

import dataclasses

import numpy as np
import pytest

from tf_simclr.data import datasets
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.training import settings_warnings
from tf_simclr.training.training_data import load_training_data


@pytest.fixture
def lines(settings, logged):
    """A function: flags, images that are evaluated -> the warnings."""

    def lines(evaluated=None, with_classes=None, **flags):
        options = settings(**flags)
        data = load_training_data(options, directory=run, related=[], later=[], num_replicas=1)
        if with_classes is not None:
            source = data.train_source
            labels = np.where(np.isin(source.labels, with_classes), source.labels, -1)
            data = dataclasses.replace(
                data, train_source=dataclasses.replace(source, labels=labels)
            )
        eval_source = None
        if evaluated is not None:
            eval_source = datasets.load(options.data, "test").take(np.arange(evaluated))
        logged()
        settings_warnings.warn(options, data, eval_source)
        return logged()

    run = RunDirectory(settings().train.model_dir)
    return lines


def test_nothing_is_odd(lines):
    assert lines(evaluated=360) == []


def test_classes_without_a_label(lines):
    (line,) = lines(with_classes=[0, 1, 2])
    assert line.startswith("7 of 10 classes have no label that is used (")
    assert "never predicted: 3, 4, 5, 6, 7, 8, 9; --labels_per_class=N" in line


def test_short_epochs(lines):
    (line,) = lines(train_steps=0, train_epochs=4, train_batch_size=700)
    assert "an epoch of 1437 images has 2.1 steps, the whole training 9 steps" in line
    assert lines(train_steps=10, train_batch_size=700) == []
    assert lines(train_steps=0, train_epochs=4, train_batch_size=400) == []


def test_a_batch_larger_than_the_data(lines):
    (line,) = lines(train_batch_size=2000)
    assert "--train_batch_size=2000 is more than the 1437 images there are" in line


def test_few_evaluated_images(lines):
    (line,) = lines(evaluated=96)
    assert "on 96 labeled images: an accuracy of 50% is known to ±10 points" in line
    _, line = lines(evaluated=360, eval_steps=1, eval_batch_size=16)
    assert "on 16 labeled images" in line and "±24 points" in line
    assert lines(evaluated=100) == []


def test_a_queue_longer_than_an_epoch(lines):
    (line,) = lines(pretext="moco", feature_queue=1437)
    assert line.startswith("--feature_queue=1437: past keys of more than the 1437 images")
    assert "--feature_queue=359 keeps a quarter" in line
    assert lines(pretext="moco", feature_queue=1436) == []


def test_a_start_from_random_weights(lines):
    (line,) = lines(train_mode="finetune")
    assert "the network starts from random weights" in line


def test_a_warmup_as_long_as_the_training(lines):
    (line,) = lines(warmup_epochs=1, train_steps=100)
    assert "a warm-up of 179 steps in a training of 100" in line


def test_a_frozen_pretraining(lines):
    (line,) = lines(fine_tune_after_block=2)
    assert "the stem and block groups 1 to 2 stay as they are in this pretraining" in line
    assert lines(fine_tune_after_block=2, train_mode="finetune", checkpoint="a") == []
    assert lines(fine_tune_after_block=2, mode="eval") == []


def test_batches_that_are_drawn(lines):
    (line,) = lines(evaluated=360, eval_steps=2, eval_batch_size=100)
    assert "200 of 360 images are evaluated, drawn at random with a fixed seed" in line
    assert lines(evaluated=360, eval_steps=4, eval_batch_size=100) == []

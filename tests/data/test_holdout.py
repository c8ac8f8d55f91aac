"""What is held out of the training split: shares of each class, and nothing of it in training."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tf_simclr.data import datasets, holdout
from tf_simclr.data.streamed_source import Streamed
from tf_simclr.errors import UserError
from tf_simclr.training.experiment import build_experiment

LABELS = st.lists(st.integers(-1, 3), min_size=1, max_size=80)


@hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
@given(LABELS, st.floats(0.01, 0.5), st.integers(0, 3))
def test_shares_that_are_held_out(labels, fraction, seed):
    """The same share with and without label, of each class to one example; none is empty."""
    labels = np.array(labels)
    chosen = holdout.choose(labels, fraction, seed)
    np.testing.assert_array_equal(chosen, holdout.choose(labels, fraction, seed))
    assert np.all(np.diff(chosen) > 0)
    for has_label in (True, False):
        members = np.flatnonzero((labels >= 0) == has_label)
        if len(members):
            most = len(members) - len(np.unique(labels[members]))
            wanted = max(1, round(fraction * len(members)))
            assert np.isin(members, chosen).sum() == min(wanted, most)


@hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
@given(LABELS, st.floats(0.01, 0.5), st.integers(0, 3))
def test_no_class_is_held_out_whole(labels, fraction, seed):
    labels = np.array(labels)
    held_out = labels[holdout.choose(labels, fraction, seed)]
    classes = np.unique(labels)
    totals = np.array([np.sum(labels == label) for label in classes])
    counts = np.array([np.sum(held_out == label) for label in classes])
    assert np.all(counts < totals)
    is_large = totals > 2 / fraction
    if np.all(is_large | (classes < 0)):
        assert np.all(np.abs(counts - fraction * totals) <= 1.5)


def slow_choice(labels, fraction, seed):
    """Class by class, each in one order of all, with the last of each class left out."""
    order = np.random.default_rng([seed, 0, 1]).permutation(len(labels)).tolist()
    rank = {}
    for label in set(labels):
        members = [i for i in order if labels[i] == label]
        for number, i in enumerate(members[:-1]):
            rank[i] = (number + 0.5) / len(members)
    chosen = []
    for has_label in (True, False):
        members = [i for i in order if (labels[i] >= 0) == has_label]
        count = max(1, round(fraction * len(members)))
        ranked = sorted(members, key=lambda i: rank.get(i, 2))[:count]
        chosen += [i for i in ranked if i in rank]
    return sorted(chosen)


@hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
@given(LABELS, st.floats(0.01, 0.5), st.integers(0, 3))
def test_choice_is_its_definition(labels, fraction, seed):
    chosen = holdout.choose(np.array(labels), fraction, seed)
    assert chosen.tolist() == slow_choice(labels, fraction, seed)


def images_of(source):
    return [image.tobytes() for image in source.records]


def test_nothing_held_out_is_trained_on(settings, shallow):
    """Neither by an objective nor in the bank of k-NN; together they have the labels asked for."""
    flags = {"labels_per_class": 10, "holdout_fraction": 0.2}
    options = settings(**flags, eval_every_epochs=1)
    experiment, repeated = build_experiment(options), build_experiment(options)
    source, held_out = experiment.data.train_source, experiment.data.held_out
    everything = datasets.load(options.data, "train")
    assert sorted(images_of(source) + images_of(held_out)) == sorted(images_of(everything))
    assert (held_out.num_examples, held_out.num_labeled, source.num_labeled) == (287, 20, 80)
    np.testing.assert_array_equal(np.bincount(held_out.labels[held_out.labels >= 0]), [2] * 10)
    labeled = everything.labeled()
    assert holdout.num_labels(labeled, 0.2, 0) == holdout.split(labeled, 0.2, 0)[1].num_labeled
    (part,) = experiment.data.batch_parts
    assert part.source is source and experiment.data.num_images == 1150
    experiment.lock_directory()
    experiment.commit_directory()
    model_dir = options.train.model_dir
    start = {"model_dir": f"{model_dir}_ft", "checkpoint": model_dir, "train_mode": "finetune"}
    finetuning = build_experiment(settings(**flags, **start, eval_every_epochs=2))
    assert finetuning.data.num_images == 80
    for other in (repeated, finetuning):
        assert images_of(other.data.held_out) == images_of(held_out)
        np.testing.assert_array_equal(other.data.held_out.labels, held_out.labels)


@pytest.mark.parametrize("change", [lambda ids: ids[5:], lambda ids: ["a new one", *ids]])
def test_the_same_images_are_held_out_again(settings, change):
    """Those that are still there, whatever comes or goes; what is new is trained on."""
    digits = datasets.load(settings().data, "train").take(np.arange(200))
    source = dataclasses.replace(digits, example_names=tuple(f"{i}.png" for i in range(200)))
    rest, _, saved_ids = holdout.split(source, 0.2, 0)
    assert len(saved_ids) == 40 and not {*saved_ids} & {*rest.example_names}
    ids = change(list(source.example_names))
    index = np.arange(len(ids)) % 200
    changed = dataclasses.replace(source.take(index), example_names=tuple(ids))
    rest, held_out, again = holdout.split(changed, 0.2, 0, saved_ids)
    assert again == list(held_out.example_names) == [name for name in ids if name in saved_ids]
    assert sorted([*rest.example_names, *again]) == sorted(ids)


def test_what_was_held_out_is_of_no_use(settings):
    """A class is not held out whole, and if labels have come, some of them are held out."""
    digits = datasets.load(settings().data, "train").take(np.arange(100))
    all_of_one_class = np.flatnonzero(digits.labels == 3)
    one_of_another = np.flatnonzero(digits.labels == 4)[:1]
    saved_ids = [*all_of_one_class.tolist(), *one_of_another.tolist()]
    assert holdout.split(digits, 0.2, 0, saved_ids)[2] == one_of_another.tolist()
    some = digits.with_labels_of(np.setdiff1d(np.arange(100), saved_ids))
    anew = holdout.split(some, 0.2, 0)[2]
    for ids in (saved_ids, [], ["gone.png"]):
        assert holdout.split(some, 0.2, 0, ids)[2] == anew


def test_nothing_is_held_out_without_an_evaluation(settings, shallow):
    assert build_experiment(settings()).data.held_out is None


def test_what_can_not_be_held_out(settings):
    single = datasets.load(settings().data, "train").take([0, 1])
    with pytest.raises(UserError, match="every class keeps one"):
        holdout.split(single, 0.5, 0)
    stream = Streamed("s", "train", (), None, None, 10, 0)
    with pytest.raises(UserError, match="--cache_dataset=True or a smaller slice"):
        holdout.split(stream, 0.5, 0)


def test_images_without_label_are_not_those_held_out(settings):
    flags = {"dataset": "digits", "eval_every_epochs": 1}
    assert settings(**flags, unlabeled_dataset="digits", unlabeled_split="test")
    for split in ("train", "train[:50%]", "test+train[9:]"):
        with pytest.raises(UserError, match="it holds out may be trained on"):
            settings(**flags, unlabeled_dataset="digits", unlabeled_split=split)
    for name in ("digits", "folder:photos/"):
        with pytest.raises(UserError, match="it holds out may be trained on"):
            settings(**{**flags, "dataset": name.rstrip("/")}, unlabeled_dataset=name)

"""What a verdict says of classifiers that are no better than guessing."""

import dataclasses
import shlex

import numpy as np
import pytest

from tests.helpers.configurations import parse_command_line
from tests.helpers.verdict_runs import chain, right, run
from tf_simclr.report import chance, contenders, verdict

AT_CHANCE = {
    "supervised": 0.11,
    "finetune": 0.09,
    "distill": 0.12,
    "pixels": 0.1,
    "untrained": 0.08,
}


def contender(counts, accuracy, balanced):
    """A classifier with these evaluated images of each class."""
    made = run("finetune", "finetune", classifier=right(accuracy, num_images=sum(counts)))
    layers = made.document["details"]["trained"]["classifier"]
    layers["confusion"] = np.diag(counts).tolist()  # only how many there are of each class counts
    (subject,) = contenders.of_runs([made])
    return dataclasses.replace(subject, balanced_accuracy=balanced)


@pytest.mark.parametrize(
    ("counts", "accuracy", "balanced", "is_better"),
    [
        ([12] * 5, 10 / 60, 10 / 60, False),
        ([12] * 5, 16 / 60, 16 / 60, False),  # 26.7% of 60 images: 20% is in the interval
        ([12] * 5, 24 / 60, 24 / 60, True),
        ([160, 40], 0.8, 0.5, False),  # always the most frequent class
        ([160, 40], 0.7, 0.7, True),  # less often right than that, but knows the rare one
        ([160, 40], 0.9, 0.75, True),
    ],
)
def test_better_than_guessing(counts, accuracy, balanced, is_better):
    subject = contender(counts, accuracy, balanced)
    assert chance.share_of_guess(subject) == max(counts) / sum(counts)
    assert chance.is_better_than_guessing(subject) == is_better


def test_deviation_of_the_balanced_accuracy():
    """A guess is seldom taken for more, however many images a class has."""
    rng = np.random.default_rng(0)
    counts = [5, 40, 300]
    num_better = 0
    for _ in range(300):
        recalls = [rng.binomial(count, 1 / 3) / count for count in counts]
        subject = contender(counts, 0.3, float(np.mean(recalls)))
        num_better += chance.is_better_than_guessing(subject)
    assert 0.005 * 300 < num_better < 0.06 * 300


def test_nothing_is_advised_at_chance_level():
    runs = chain(**AT_CHANCE, probe=0.1)
    text = verdict.of_runs(runs).text
    assert "None of these is surely better than guessing (10.0%): there is nothing to use yet" in (
        text
    )
    assert "a longer training (--budget or --train_epochs), more labels (--mode=select" in text
    assert "--mode=inspect" in text and "more than 224 pixels (--image_size)" in text
    for words in ("Use ", "helps", "does not help", "better still"):
        assert words not in text
    runs[0].document["run"]["labels"] = runs[0].document["run"]["images"]
    assert "more images with labels" in verdict.of_runs([runs[0]]).text


def test_a_probe_that_says_the_most_frequent_class():
    """Without a classifier, whose confusion says how many images each class has."""
    made = run("pretrain", "pretrain", probe=right(0.95, num_images=1000))
    made.document["run"]["class_names"] = ["common", "rare"]
    assert "better than guessing" not in verdict.of_runs([made]).text
    made.document["details"]["trained"]["final_avg_pool"]["class_counts"] = [950, 50]
    text = verdict.of_runs([made]).text
    assert "; always the most frequent class: 95.0%." in text
    assert "It is not surely better than guessing (95.0%)" in text
    for counts in ([510, 490], [1000, 0], [1000]):
        made.document["details"]["trained"]["final_avg_pool"]["class_counts"] = counts
        assert "most frequent" not in verdict.of_runs([made]).text


def test_guessing_is_not_claimed_of_few_images():
    """8 of 10 right in two classes may be a guess: it is not said that it is one."""
    few = run("finetune", "finetune", classifier=right(0.8, num_images=10))
    few.document["run"]["class_names"] = ["cat", "dog"]
    text = verdict.of_runs([few]).text
    assert "It is not surely better than guessing (50.0%)" in text
    assert "What may help: more evaluated images (--eval_split), a longer training" in text


def test_a_classifier_alone():
    alone = run("finetune", "finetune", classifier=right(0.1))
    assert "It is not surely better than guessing (10.0%)" in verdict.of_runs([alone]).text


def test_a_probe_that_classifiers_do_not_reach(tmp_path):
    """The verdict says how to use it, and the command is one that is accepted."""
    runs = chain(**AT_CHANCE, probe=0.5)
    runs[1] = dataclasses.replace(runs[1], directory=tmp_path / "my run")
    runs[1].document["flags"] |= {"image_size": 16, "value_range": "0,65535", "stem": "cifar"}
    text = verdict.of_runs(runs).text
    assert "No classifier is surely better than guessing (10.0%): use none of it yet." in text
    assert "A linear probe on the features of pretrain is better, by 39.0 points." in text
    command = text.split("to export: ")[1].splitlines()[0]
    python, script, *arguments = shlex.split(command)
    assert (python, script) == ("python", "run.py")
    (settings,), _ = parse_command_line(*arguments)
    assert settings.objective.checkpoint == str(tmp_path / "my run")
    assert settings.data.dataset == "digits" and settings.data.image_size == 16
    assert settings.model.probe_init_logits_layer and settings.model.fine_tune_after_block == 4
    assert "--value_range" not in command  # nobody gave one


def test_a_network_that_guesses_is_not_used():
    """Also where the better one can't be told from it by the interval."""
    runs = [
        run("supervised", "supervised", classifier=right(0.13, 50, num_images=100)),
        run("finetune", "finetune", classifier=right(0.2, num_images=100)),
    ]
    better = verdict.of_runs(runs)
    assert "can't be told from supervised" in better.text
    assert better.best.name == "finetune" and "Use finetune" in better.text

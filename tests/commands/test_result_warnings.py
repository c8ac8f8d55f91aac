"""What is odd about metrics is said with the way out; differences that chance makes are not."""

import json
import types

import numpy as np
import pytest

from tf_simclr.commands import result_warnings
from tf_simclr.commands.measurement import Measurement
from tf_simclr.evaluation.results import Results
from tf_simclr.runs import files as run_files

NUM_IMAGES = 400


@pytest.fixture
def warnings(settings, logged):
    """A function: accuracies, details, flags -> the warnings."""

    def warnings(accuracy, probe=None, details=None, **flags):
        options = settings(learning_rate=0.3, **flags)
        results = Results()
        classifier = {"label_top_1_accuracy": accuracy}
        results.add("trained", "classifier", classifier, details or {})
        if probe is not None:
            results.add("trained", "final_avg_pool", {"linear_probe_accuracy": probe}, {})
        description = {
            "regularization_loss": 0.0,
            "labels": 20,
            "evaluated_with": options.evaluation_flags,
        }
        features = types.SimpleNamespace(test={"label": np.zeros(NUM_IMAGES, np.int64)})
        measurement = Measurement(9, None, results, features, description)
        logged()
        result_warnings.warn(options, measurement, ("bus", "car", "tram"))
        return logged()

    return warnings


@pytest.fixture
def start(settings, tmp_path):
    """A function: flags, what was saved besides -> the run that a training starts from."""

    def start(flags=(), **values):
        (tmp_path / run_files.CONFIG).write_text(json.dumps(settings(**dict(flags)).flat()))
        evaluated_with = json.loads(json.dumps(settings().evaluation_flags))
        result = {"labels": 20, "eval/linear_probe_accuracy": 0.9}
        result = {"evaluated_with": evaluated_with, **result, **values}
        (tmp_path / "result.json").write_text(json.dumps(result))
        return str(tmp_path)

    return start


def test_classes_never_predicted(warnings):
    (line,) = warnings(0.9, details={"never_predicted": [2]})
    assert line == "the classifier never predicts 1 of the classes of the evaluated images: tram"


def test_a_classifier_below_the_probe_on_its_own_features(warnings):
    (line,) = warnings(0.5, probe=0.7, train_mode="supervised")
    assert "has 50.0% on 400 images" in line and "regression on its own features 70.0%" in line
    assert "(±6.6 points)" in line
    assert "try --probe_init_logits_layer, which starts with that regression" in line
    assert "--learning_rate=0.1, or fewer --train_epochs or --train_steps" in line
    (line,) = warnings(0.5, 0.7, train_mode="finetune", probe_init_logits_layer=True)
    assert "--probe_init" not in line and "try --learning_rate=0.1, or fewer" in line


def test_a_classifier_on_the_side_of_pretraining(warnings):
    (line,) = warnings(0.5, probe=0.7, train_mode="pretrain", model_dir="runs/a")
    assert "it was trained on the side" in line
    assert "--train_mode=finetune --probe_init_logits_layer --checkpoint=runs/a" in line
    (line,) = warnings(
        0.5, 0.7, train_mode="pretrain", mode="eval", model_dir="runs/a", checkpoint="runs/b"
    )
    assert "--checkpoint=runs/b" in line and "runs/a" not in line


def test_a_difference_that_chance_makes(warnings):
    assert warnings(0.5, probe=0.56, train_mode="supervised") == []
    assert warnings(0.5, probe=0.56, train_mode="pretrain") == []
    assert warnings(0.5, probe=0.7, train_mode="distill") == []
    assert warnings(0.8, probe=0.7, train_mode="finetune") == []


def test_a_classifier_below_the_probe_of_its_start(warnings, start):
    (line,) = warnings(0.8, probe=0.8, train_mode="finetune", checkpoint=start())
    assert "on the features of the weights that it started from 90.0%" in line


def test_the_best_weights_are_not_those_that_the_start_was_evaluated_with(warnings, start):
    checkpoint = f"{start()}/best"
    assert warnings(0.8, 0.8, train_mode="finetune", checkpoint=checkpoint) == []


@pytest.mark.parametrize(
    "flags",
    [
        {"dataset": "cifar10"},
        {"labels_per_class": 2},
        {"label_fraction": 0.5},
        {"train_split": "train[:50%]"},
    ],
)
def test_a_start_on_other_data_or_labels_is_not_compared(warnings, start, flags):
    assert warnings(0.8, train_mode="finetune", checkpoint=start()) != []
    assert warnings(0.8, train_mode="finetune", checkpoint=start(flags)) == []
    # All labels are used, whatever the seed.
    assert warnings(0.8, train_mode="finetune", checkpoint=start({"seed": 1})) != []


def test_a_start_that_was_evaluated_otherwise_is_not_compared(warnings, start):
    other_labels = start(labels=1437)
    assert warnings(0.8, train_mode="finetune", checkpoint=other_labels) == []
    flags = {"train_mode": "finetune", "checkpoint": start()}
    assert warnings(0.8, **flags, eval_steps=1) == []
    assert warnings(0.8, train_mode="finetune", checkpoint="nowhere") == []

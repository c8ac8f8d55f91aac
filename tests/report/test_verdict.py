"""The verdict on runs whose answers to each image are known."""

import dataclasses
import re

import numpy as np
import pytest

from tests.helpers import report_runs, verdict_runs
from tests.helpers.verdict_runs import chain, right, run, without_bits
from tf_simclr.report import page, verdict, verdict_chart, verdict_notes
from tf_simclr.report.contenders import CLASSIFIER

TAGS = {"h2", "div", "p", "figure", "figcaption", "b", "span", "svg", "path", "text", "g", "circle"}


def text_of(runs):
    return verdict.of_runs(runs).text


def test_pretraining_that_helps():
    found = verdict.of_runs(chain())
    use, first, gain = found.sentences
    assert first.startswith(
        "On 400 test images, with 20 labels: distill is right about 82.0% (95% interval 77.9 to "
        "85.5), the best of 2 on these images; supervised 60.0%, linear probes on raw pixels 50.0% "
        "and on the untrained network 40.0%."
    )
    assert gain.startswith("Pretraining helps: +22.0 points (") and "over supervised" in gain
    assert use.startswith("Use finetune/saved_model: distill can't be told from it (+2.0 points, ")
    assert use.endswith("and it comes first.")
    assert found.best.name == "finetune"


@pytest.mark.parametrize("published", [0.7, 0.95])
def test_a_published_network_is_the_yardstick(published):
    """It is one of the baselines, named by its preset, and may well be better."""
    shared = {"published": right(published), "pixels": right(0.5)}
    runs = [
        run("pretrain", "pretrain", probe=right(0.78), **shared),
        run("finetune", "finetune", classifier=right(0.8), **shared),
    ]
    verdict_of_runs = verdict.of_runs(runs)
    text = verdict_of_runs.text
    assert f"linear probes on the published tiny {published:.1%} and on raw pixels 50.0%" in text
    if published > 0.8:
        assert "linear probe on the published tiny is better than finetune by 15.0 points" in text
        assert "Pretraining does not help" not in text and "+30.0 points" in text
    else:
        assert "+10.0 points" in text and "over a linear probe on the published tiny" in text
    names = [contender.name for contender in verdict_of_runs.contenders]
    assert names.count("the published tiny") == 1  # the same of both runs
    drawn = verdict_chart.chart(verdict_of_runs)
    assert "published tiny" in [row.label for row in drawn.rows]
    html = page.render(runs)
    assert "published tiny" in html and "tiny" in html


def test_a_published_network_alone_is_no_judge():
    """That it is better says nothing of what the pretraining has given."""
    runs = [
        run("pretrain", "pretrain", probe=right(0.7), published=right(0.9)),
        run("finetune", "finetune", classifier=right(0.75)),
    ]
    text = text_of(runs)
    assert "A linear probe on the published tiny is better than finetune by 15.0 points" in text
    assert "Pretraining" not in text and "retraining helps" not in text


def test_a_semi_stage_from_random_weights_is_a_rival():
    """It has seen no pretraining: that it is the best is no merit of one."""
    random = run("semi-random", "semi", classifier=right(0.85), flags={"checkpoint": ""})
    started = run("semi", "semi", classifier=right(0.84), flags={"checkpoint": "runs/x/pretrain"})
    text = text_of([*chain(finetune=0.7, distill=0.72), random])
    assert "Pretraining helps" not in text and "semi-random 85.0%" in text
    text = text_of([*chain(), started])
    assert "semi is right about 84.0%" in text and "Pretraining helps: +24.0 points" in text


def test_a_smaller_network_is_preferred():
    runs = chain(finetune=0.82)
    runs[2].document["run"]["parameters"] = 2000
    text = text_of(runs)
    assert "Use distill/saved_model: finetune can't be told from it" in text
    assert "and it is smaller." in text
    runs[3].document["run"]["parameters"] = 3000
    assert "Use finetune/saved_model" in text_of(runs)


def test_a_clearly_better_stage_is_used():
    assert "Use distill/saved_model." in text_of(chain(finetune=0.7))


@pytest.mark.parametrize(
    "accuracies, sentence",
    [
        ({"supervised": 0.83}, "can't be told from supervised (-1.0 points, "),
        ({"supervised": 0.95}, "supervised is better than distill by 13.0 points ("),
        ({"pixels": 0.83}, "distill can't be told from a linear probe on raw pixels (-1.0 points"),
        ({"untrained": 0.9}, "a linear probe on the untrained network is better than distill by"),
    ],
)
def test_pretraining_that_does_not_help(accuracies, sentence):
    text = text_of(chain(**accuracies))
    assert "Pretraining does not help here: " in text and sentence in text
    assert "Pretraining helps" not in text


def test_few_images_leave_it_open():
    """A large gain that few images can't tell from none is not called none."""
    answers = np.arange(40)
    runs = [
        run("supervised", "supervised", classifier=answers >= 16),  # 60%
        run("pretrain", "pretrain", probe=answers < 30),
        run("finetune", "finetune", classifier=answers < 30),  # 75%
    ]
    text = text_of(runs)
    assert (
        "It is open whether pretraining helps: finetune can't be told from supervised (+15.0 points"
    ) in text
    assert "More images in --eval_split make smaller differences visible." in text
    assert "does not help" not in text
    assert "Use finetune/saved_model: supervised can't be told from it (-15.0 points, " in text
    assert "but it is ahead." in text


def test_supervised_is_used_where_it_is_as_good():
    assert "Use supervised/saved_model" in text_of(chain(supervised=0.83))


def test_a_probe_that_pretraining_helps():
    text = text_of(chain(finetune=0.5, distill=0.5, probe=0.9))
    assert "what helps is a linear probe on the features of pretrain, +30.0 points" in text
    assert "does not help" not in text
    assert "A linear probe on the features of pretrain is better still, by 30.0 points." in text


def test_without_a_supervised_network_nothing_is_said_of_pretraining():
    text = text_of(chain()[1:])
    assert "That is +32.0 points (" in text and "Pretraining" not in text


def test_pretraining_alone_is_judged_by_its_probe():
    """Not by the classifier on the side, which here is at chance."""
    found = verdict.of_runs(chain()[1:2])
    assert "a linear probe on the features of this network is right about 78.0%" in found.text
    assert "Pretraining helps: +28.0 points" in found.text and "Use" not in found.text


def selected(accuracy):
    flags = {"labels_chosen": "selected", "labels_per_class": 2}
    classifier = right(accuracy)
    return run("finetune-selected", "finetune", classifier=classifier, flags=flags)


@pytest.mark.parametrize(
    "baselines, flags, words",
    [
        (("pixels",), {}, "That is +30.0 points"),
        (("pixels", "untrained"), {}, "Pretraining helps: +30.0 points"),
        (("pixels", "untrained"), {"checkpoint": "elsewhere"}, "That is +30.0 points"),
        (("pixels", "untrained"), {"backbone": "hub:tiny"}, "That is +30.0 points"),
        (("pixels", "published"), {"backbone": "hub:tiny"}, "Pretraining helps: +30.0 points"),
    ],
)
def test_pretraining_is_praised_where_the_same_was_tried_without(baselines, flags, words):
    """Not for what the weights were good for before it."""
    answers = {name: right(0.5) for name in baselines}
    text = text_of([run("pretrain", "pretrain", probe=right(0.8), flags=flags, **answers)])
    assert words in text


def test_a_student_of_the_supervised_network_has_seen_no_pretraining():
    flags = {"teacher_checkpoint": "runs/supervised/best"}
    student = run("distill-2", "distill", classifier=right(0.9), flags=flags)
    runs = [*chain(), student]
    runs[0].document["flags"]["model_dir"] = "runs/supervised"
    text = text_of(runs)
    assert "distill is right about 82.0%" in text and "distill-2 90.0%" in text
    assert "distill-2 is better than distill by 8.0 points" in text
    assert "Pretraining helps" not in text
    text = text_of([runs[0], student])
    assert "distill-2 is right about 90.0%" in text and "That is +30.0 points" in text


def test_runs_that_start_from_each_other():
    """No such runs are made, but a results.json may say so."""
    runs = [
        run("a", "semi", classifier=right(0.8), flags={"model_dir": "a", "checkpoint": "b"}),
        run("b", "semi", classifier=right(0.7), flags={"model_dir": "b", "checkpoint": "a"}),
    ]
    assert "a is right about 80.0%" in text_of(runs)


def test_selected_labels_are_not_pretraining():
    text = text_of([*chain(), selected(0.95)])
    assert "distill is right about 82.0%" in text and "the best of 2 on" in text
    assert "With 20 selected labels, finetune-selected is right about 95.0%" in text
    assert "which comes with the labels, not with pretraining" in text
    assert "Use finetune-selected/saved_model." in text
    text = text_of([*chain(), selected(0.83)])
    assert "finetune-selected, with 20 selected labels, can't be told from it" in text


@pytest.mark.parametrize(
    "train_mode, count, labels_chosen",
    [
        ("finetune", 40, "selected"),  # more labels
        ("finetune", 10, "selected"),  # fewer labels
        ("finetune", 20, "drawn"),  # as many of another seed
        ("semi", 20, "selected"),  # another kind of training
    ],
)
def test_other_labels_have_other_reasons(train_mode, count, labels_chosen):
    """A better network with other labels owes it to their selection only if all else is equal."""
    flags = {"labels_chosen": labels_chosen, "labels_per_class": 2, "seed": 5, "checkpoint": "a"}
    facts = {"labels": count}
    other = run("other", train_mode, classifier=right(0.95), flags=flags, facts=facts)
    text = text_of([*chain(), other])
    assert "comes with the labels" not in text
    assert "over distill, which says nothing of pretraining: the labels are others." in text


def test_selected_labels_alone():
    assert "with 20 selected labels: this network is right" in text_of([selected(0.9)])


def test_earlier_versions_are_not_paired():
    paired, old = verdict.of_runs(chain()), verdict.of_runs(without_bits(chain()))
    assert "Which images were right is not known of each" in old.text
    assert "not known of each" not in paired.text
    ends = [re.search(r"helps: \S+ points \((.*?) to (.*?)\)", each.text) for each in (paired, old)]
    widths = [float(each[2]) - float(each[1]) for each in ends]
    assert widths[0] < widths[1]


@pytest.mark.parametrize("change", [{"eval_split": "validation"}, {"evaluated_examples": 500}])
def test_other_images_are_not_paired(change):
    runs = without_bits(chain())
    runs[0].document["run"] |= change
    assert "Not all were evaluated on the same images" in text_of(runs)


def test_other_labels_of_as_many_images_are_not_paired():
    runs = chain()
    runs[0].document["details"]["trained"]["classifier"]["classifier_correct"]["labels"] = "other"
    assert "are those of different images, and" in text_of(runs).replace("some differences ", "")


def test_different_data():
    runs = chain()
    runs[0].document["run"]["dataset"] = "cifar10"
    found = verdict.of_runs(runs)
    assert found.text == "No verdict: the runs are of different data (cifar10, digits)."
    assert verdict_chart.chart(found) is None


def test_training_images_get_no_verdict():
    runs = chain()
    for each in runs:
        each.document["run"]["eval_split"] = "train"
    assert text_of(runs).startswith("No verdict: the evaluated images are those that were trained")
    runs = chain()
    runs[3].document["run"]["eval_split"] = "train"
    assert "finetune is right about 80.0%" in text_of(runs)
    assert "Not compared, since evaluated on the images trained on: distill." in text_of(runs)


def test_without_labels_there_is_none():
    runs = chain()
    for each in runs:
        each.document["figures"] = {"trained": {"final_avg_pool": {"feature_rank": 3.0}}}
    assert verdict.of_runs(runs) is None


def test_imported_weights_are_judged_by_the_probe():
    """Which labels their classifier had is not known."""
    imported = run("other", "finetune", classifier=right(0.9), probe=right(0.7), pixels=right(0.5))
    imported.document["command"] = "python run.py --mode=eval --checkpoint=a"
    text = text_of([imported])
    assert "a linear probe on the features of this network is right about 70.0%" in text
    assert "That is +20.0 points" in text and "90.0%" not in text


def test_few_images():
    few = run("finetune", "finetune", classifier=right(0.8, num_images=60))
    assert "Only 60 images were evaluated: the intervals are wide." in text_of([few])
    assert "Only" not in text_of(chain())


def test_few_images_and_a_cross_validated_probe():
    few = right(0.8, num_images=60)
    pretrain = run("pretrain", "pretrain", probe=few)
    pretrain.document["figures"]["trained"]["final_avg_pool"]["cross_validated_accuracy"] = 0.7
    details = pretrain.document["details"]["trained"]["final_avg_pool"]
    details["cross_validation"] = {"images": 250, "folds": 10}
    assert (
        "the intervals are wide. Over all 250 labeled images, cross-validated, a linear probe on "
        "the features of pretrain is right about 70.0% (95% interval 64.1 to 75.3)."
    ) in text_of([pretrain, run("finetune", "finetune", classifier=few)])


def test_classes_that_count_the_same():
    network = run("finetune", "finetune", classifier=right(0.8))
    assert "--class_weights" not in text_of([network])
    network.document["flags"]["class_weights"] = "balanced"
    network.document["figures"]["trained"]["classifier"]["label_balanced_accuracy"] = 0.7
    assert (
        "With --class_weights=balanced all classes count the same, in the linear probes, too: "
        "this network is right about 70.0% in the mean over them."
    ) in text_of([network])


def balanced_run(name, train_mode, correct, balanced):
    """A run whose classes count the same."""
    made = run(name, train_mode, classifier=correct, flags={"class_weights": "balanced"})
    made.document["figures"]["trained"]["classifier"]["label_balanced_accuracy"] = balanced
    return made


def test_accuracies_that_disagree_decide_nothing():
    """The supervised network is better in the frequent class alone."""
    runs = [
        balanced_run("supervised", "supervised", right(0.918), 0.71),
        balanced_run("finetune", "finetune", right(0.877), 0.865),
    ]
    runs.append(run("pretrain", "pretrain", probe=right(0.8)))
    found = verdict.of_runs(runs)
    assert (
        "Supervised is right more often than finetune (91.8% and 87.8%), but less often in the "
        "mean over the classes (71.0% and 86.5%), which all count the same with "
        "--class_weights=balanced: which is better depends on what counts."
    ) in found.text
    assert "Use " not in found.text and "retraining" not in found.text
    assert found.best.name == "finetune"
    runs[0].document["figures"]["trained"]["classifier"]["label_balanced_accuracy"] = 0.88
    assert "Pretraining does not help here" in text_of(runs)
    assert "Use supervised/saved_model" in text_of(runs)


def test_a_network_that_misses_the_rare_class_is_not_preferred():
    """Though by accuracy it can't be told from the best one and comes first."""
    runs = [
        balanced_run("supervised", "supervised", right(0.88, 5), 0.6),
        balanced_run("finetune", "finetune", right(0.885), 0.86),
    ]
    assert "Use finetune/saved_model: supervised can't be told from it" in text_of(runs)


def test_copies_are_left_out():
    is_copy = np.zeros(400, bool)
    is_copy[:40] = True  # the classifier is right about all of them
    which = verdict_runs.image_bits.pack(is_copy, np.arange(400) % 10)
    copies = {"images": 40, "evaluated": 400, "compared": 9, "which": which}
    one = run("finetune", "finetune", classifier=right(0.5), training_copies=copies)
    assert "On 360 of 400 test images" in text_of([one]) and "44.4%" in text_of([one])
    assert (
        "40 near-copies of training images left out. Metrics and tables are of all 400 images."
    ) in text_of([one])
    skipping = {**copies, "skipped": 3}
    one = run("finetune", "finetune", classifier=right(0.5), training_copies=skipping)
    assert "left out; not all similar images were compared." in text_of([one])
    del copies["which"]
    one = run("finetune", "finetune", classifier=right(0.5), training_copies=copies)
    assert "50.0%" in text_of([one]) and "the accuracies are a little too good" in text_of([one])


def test_of_very_many_images_copies_are_counted_among_some(monkeypatch):
    monkeypatch.setattr(verdict_runs.image_bits, "MAX_IMAGES", 200)
    which = verdict_runs.image_bits.pack(np.arange(400) < 40, np.arange(400) % 10)
    copies = {"images": 40, "evaluated": 400, "compared": 9, "which": which}
    one = run("finetune", "finetune", classifier=right(0.5), training_copies=copies)
    assert "On 180 test images, with" in text_of([one])


def test_spread_over_draws():
    """That of subsets of half of the labels is that of all of them."""
    draws = [0.5, 0.6, 0.7, 0.8, 0.9]
    entry = {"labels": 10, "mean": 0.7, "std": float(np.std(draws)), "draws": draws}
    spread = verdict_notes.spread_over_draws
    assert spread([entry], 20) == pytest.approx(np.std(draws, ddof=1))
    assert spread([entry], 15) == pytest.approx(np.std(draws, ddof=1) * 2**0.5)
    assert spread([entry], 40) is None and spread([entry], 10) is None
    assert spread([{**entry, "draws": draws[:4]}], 20) is None
    assert spread([{"mean": 0.7, "std": 0.1}], 20) is None


def test_more_labels():
    runs = chain()
    law = {
        "labels": 20,
        "reason": None,
        "law": {},
        "band": [
            {"labels": 20, "accuracy": 0.80, "low": 0.79, "high": 0.81},
            {"labels": 50, "accuracy": 0.84, "low": 0.82, "high": 0.87},
        ],
    }
    details = runs[1].document["details"]["trained"]["final_avg_pool"]
    details["label_law"] = law
    expected = "More labels would help: about +4 points (2 to 7, 80% interval) for a linear probe"
    assert f"{expected} on pretrain" in text_of(runs) and "with 50 instead of 20" in text_of(runs)
    law["band"][1]["low"] = 0.79
    assert "More labels" not in text_of(runs)
    law["band"][1]["low"], law["reason"] = 0.82, "can't tell"
    assert "More labels" not in text_of(runs)


def test_chart_is_to_scale():
    found = verdict.of_runs([*chain(), selected(0.95)])
    drawing = verdict_chart.chart(found)
    assert [row.label for row in drawing.rows[:3]] == [
        "raw pixels",
        "untrained network",
        "features of pretrain",
    ]
    (x0, low), (x1, high) = drawing.ticks[0], drawing.ticks[-1]
    low, high = float(low.rstrip("%")), float(high.rstrip("%"))
    for row in drawing.rows:
        value = low + (row.x - x0) / (x1 - x0) * (high - low)
        assert value == pytest.approx(float(row.value.rstrip("%")), abs=0.3)
        assert 0 <= row.low <= row.x <= row.high <= drawing.width
    assert [row.label for row in drawing.rows if row.is_used] == [
        "finetune-selected, 20 selected, 2.3 min"
    ]


def test_bold_is_what_the_verdict_says_to_use():
    no_bold = verdict_chart.chart(verdict.of_runs([run("a", "finetune", classifier=right(0.3))]))
    assert (no_bold.key, [row.is_used for row in no_bold.rows]) == ("", [False])
    guesses = [run(name, "finetune", classifier=right(0.1)) for name in "ab"]
    assert not any(row.is_used for row in verdict_chart.chart(verdict.of_runs(guesses)).rows)
    of_chain = verdict_chart.chart(verdict.of_runs(chain()))
    assert of_chain.key.startswith("Bold: what the verdict says to use. Gray: linear probes on")


@pytest.mark.parametrize(
    "minutes, ending", [(0.03, ", 20 selected, 2 s"), (61, ", 20 selected, 61.0 min")]
)
def test_labels_leave_room_for_the_accuracy(minutes, ending):
    long = selected(0.95)
    long = dataclasses.replace(long, name="finetune-with-a-long-name-that-is-selected")
    long.facts["train_minutes"] = minutes
    labels = [row.label for row in verdict_chart.chart(verdict.of_runs([*chain(), long])).rows]
    assert labels[-1].endswith(f"…selected{ending}")
    assert max(map(len, labels)) == verdict_chart.MAX_LABEL


def test_many_runs_are_not_all_drawn():
    names = [f"run{number}" for number in range(20)]
    runs = [run(name, "finetune", classifier=right(0.5 + i / 50)) for i, name in enumerate(names)]
    found = verdict.of_runs(runs)
    drawing = verdict_chart.chart(found)
    assert len(found.contenders) == 20 and len(drawing.rows) == verdict_chart.MAX_ROWS
    assert drawing.left_out == 20 - verdict_chart.MAX_ROWS
    assert drawing.rows[-1].label.startswith("run19") and "the best of 20 on these" in found.text


def test_hostile_names_are_escaped():
    for name in report_runs.HOSTILE:
        runs = chain()
        hostile = run(name, "distill", classifier=right(0.9))
        html = page.render([*runs, hostile])
        head = html[html.index('<div class="verdict"') : html.index('<div class="cards')]
        tags = set(re.findall(r"</?([a-z0-9]+)", head))
        assert tags <= TAGS
        assert 'onmouseover="' not in head


def test_the_page_of_earlier_versions():
    """A verdict without paired intervals, and no sentence of its own in the card."""
    html = page.render(without_bits(chain()))
    assert '<div class="verdict"' in html and "Which images were right is not known" in html
    assert html.count('class="lead"') == 1


def test_each_contender_is_there_once():
    found = verdict.of_runs([*chain(), *[selected(0.9)]])
    names = [contender.name for contender in found.contenders]
    assert len(names) == len(set(names)) == 7
    assert sum(each.kind == CLASSIFIER for each in found.contenders) == 4

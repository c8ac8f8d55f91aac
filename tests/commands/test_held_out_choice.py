"""--finetune_choice=held_out: what does best on held-out labels is what the stage is trained as."""

import json

import pytest

import tf_simclr
from tests.helpers.configurations import parse_command_line
from tests.helpers.processes import DIGITS, HERE, TINY
from tf_simclr import console
from tf_simclr.commands import held_out_choice
from tf_simclr.config.held_out_choices import FINETUNING
from tf_simclr.report import page
from tf_simclr.report import runs as runs_lib
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory

pytestmark = pytest.mark.usefixtures("shallow", "eager", "without_outputs")
CHAIN = [
    *DIGITS,
    *TINY,
    *HERE,
    "--mode=train_then_eval",
    "--train_mode=pretrain,finetune",
    "--labels_per_class=4",
    "--color_jitter_strength=0",
    "--eval_steps=1",
    "--train_batch_size=8",
    "--train_steps=2",
    "--finetune.finetune_choice=held_out",
]


@pytest.fixture
def best(monkeypatch):
    """A function: names the candidate that will do best, all of which are trained."""
    monkeypatch.setattr(held_out_choice, "NUM_DRAWS", 2)
    measure = held_out_choice._score
    measured = []

    def set_best(name):
        def score(settings, related, selected_labels):
            if len(measured) < len(FINETUNING.candidates):  # the first draw is real
                value, *counts = measure(settings, related, selected_labels)
                assert 0 <= value <= 1 and counts == [40, 12]
            measured.append(settings)
            is_best = name.replace(" ", "_") in settings.train.model_dir
            return float(is_best), 40, 12

        monkeypatch.setattr(held_out_choice, "_score", score)
        return measured

    return set_best


def test_the_best_candidate_is_trained(tmp_path, main, best, monkeypatch):
    name = "from the head's first layer"
    measured = best(name)
    directory = tmp_path / "run"
    status, stderr = main(*CHAIN, f"--model_dir={directory}")
    assert status == 0, stderr
    assert f"fine-tuning: {name} is the best on 12 held-out labels, mean of 2 draws" in stderr
    assert len(measured) == 2 * len(FINETUNING.candidates)
    assert len({settings.train.seed for settings in measured}) == 2
    stage = directory / "finetune"
    assert not (stage / run_files.CANDIDATES).exists()
    flags = json.loads((stage / run_files.CONFIG).read_text())
    assert FINETUNING.candidates[name].items() <= flags.items()
    choice = json.loads((stage / run_files.HELD_OUT_CHOICE).read_text())
    assert choice["chosen"] == name and choice["scores"]["frozen encoder"] == [0.0, 0.0]
    text = page.render(runs_lib.read([stage]))
    assert "accuracy on 12 held-out labels" in text and "100.0%, 100.0%" in text
    assert tf_simclr.load(stage).class_names == tuple("0123456789")

    # A finished chain does not wait for the start of TensorFlow.
    monkeypatch.setattr(console, "start_tensorflow", lambda: pytest.fail("it was started"))
    status, stderr = main(*CHAIN, f"--model_dir={directory}")
    assert status == 0 and stderr.count("is finished") == 2
    _, settings = parse_command_line("--mode=export", f"--model_dir={directory}")[0]
    assert settings.model.ft_proj_selector == 1


def test_the_supervised_baseline_takes_the_better_length(tmp_path, main, monkeypatch):
    related_to = {}

    def score(settings, related, selected_labels):
        related_to[settings.train.model_dir] = list(map(str, related))
        assert settings.objective.supervised_choice == "given"
        RunDirectory(settings.train.model_dir).create()
        return float(settings.train.steps_factor), 40, 12

    monkeypatch.setattr(held_out_choice, "_score", score)
    directory = tmp_path / "run"
    flags = [*CHAIN, "--train_mode=supervised", "--supervised_choice=held_out"]
    flags.remove("--finetune.finetune_choice=held_out")
    status, stderr = main(*flags, f"--model_dir={directory}")
    assert status == 0, stderr
    assert "length: three times as many is the best on 12 held-out labels" in stderr
    result = json.loads((directory / run_files.RESULT).read_text())
    assert result["global_step"] == result["total_steps"] == 6
    assert "Length of run" in page.render(runs_lib.read([directory]))
    # All draws are of the labels that the first one was allowed.
    first, *others = related_to
    assert related_to[first] == [] and len(others) == 5
    assert all(related_to[other] == [first] for other in others)


def test_a_choice_is_made_once(settings, monkeypatch):
    """A stage that was interrupted after the choice goes on with it."""
    options = settings(
        mode="train", train_mode="finetune", checkpoint="run", finetune_choice="held_out"
    )
    saved = {"chosen": "frozen encoder", "scores": {"frozen encoder": [0.5]}, "held_out": 12}
    RunDirectory(options.train.model_dir).create()
    RunDirectory(options.train.model_dir).write(run_files.HELD_OUT_CHOICE, saved)
    monkeypatch.setattr(held_out_choice, "_decide", lambda *all: pytest.fail("chosen again"))
    settled = held_out_choice.settle(options, [], None)
    assert settled.model.fine_tune_after_block == 4
    as_given = options.replace(finetune_choice="given")
    assert held_out_choice.settle(as_given, [], None) == as_given


def test_no_label_can_be_held_out(settings, monkeypatch, log):
    """No class loses its last one: there is nothing to measure candidates on."""
    monkeypatch.setattr(held_out_choice, "_decide", lambda *all: pytest.fail("nothing to choose"))
    options = settings(
        train_mode="finetune", checkpoint="run", finetune_choice="held_out", labels_per_class=1
    )
    assert held_out_choice.settle(options, [], None) == options
    assert "--finetune_choice=held_out: no label can be held out" in log.text
    assert not RunDirectory(options.train.model_dir).path.exists()
    # With more labels it stays as it has begun.
    more = options.replace(labels_per_class=4)
    with pytest.raises(pytest.fail.Exception, match="nothing to choose"):
        held_out_choice.settle(more, [], None)
    directory = RunDirectory(more.train.model_dir, more)
    directory.create()
    directory.commit()
    assert held_out_choice.settle(more, [], None) == more


def test_layers_that_the_pretrained_network_does_not_have(tmp_path, settings):
    """A pretext task without a projection head has nothing to start from in it."""
    pretrained = settings(pretext="rotation")
    (tmp_path / "rotation").mkdir()
    (tmp_path / "rotation" / run_files.CONFIG).write_text(json.dumps(pretrained.flat()))
    options = settings(train_mode="finetune", checkpoint=str(tmp_path / "rotation"))
    candidates = dict(list(FINETUNING.candidates.items())[:2])
    assert held_out_choice._possible(options, FINETUNING) == candidates

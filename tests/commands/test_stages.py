"""The stages of a chain on disk: what is refused and warned of before any training."""

import json

import pytest
from etils import epath

from tests.helpers.configurations import parse_command_line
from tf_simclr.commands import stages as stages_lib
from tf_simclr.commands.stages import Stages
from tf_simclr.errors import UserError
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory


@pytest.mark.parametrize("flag", ["finetune.checkpoint", "distill.teacher_checkpoint"])
def test_best_weights_that_no_stage_keeps(tmp_path, flag):
    """It shows before the stage is trained that would not keep them."""
    start = {"finetune.checkpoint": "pretrain", "distill.teacher_checkpoint": "finetune"}[flag]
    arguments = [
        "--dataset=digits",
        "--train_mode=pretrain,finetune,distill",
        f"--{flag}={start}/best",
        f"--model_dir={tmp_path / 'x'}",
    ]
    configs, _ = parse_command_line(*arguments)
    ways_out = rf"give --{flag}={start}, or .* --{start}\.eval_every_epochs=1"
    with pytest.raises(UserError, match=ways_out):
        Stages(configs)
    configs, _ = parse_command_line(*arguments, f"--{start}.eval_every_epochs=1")
    Stages(configs)


def test_a_stage_whose_directory_was_removed(tmp_path, log):
    """It is trained anew, and what started from it is not."""
    arguments = ["--dataset=digits", "--train_mode=pretrain,finetune,distill"]
    configs, _ = parse_command_line(*arguments, f"--model_dir={tmp_path}")
    Stages(configs)
    assert "is trained anew" not in log.text
    for settings in configs[1:]:
        directory = RunDirectory(settings.train.model_dir)
        directory.create()
        RunDirectory(directory.path, settings).commit()
    Stages(configs)
    lines = {record.getMessage() for record in log.records}
    (line,) = [line for line in lines if "is trained anew" in line]
    assert line.startswith("stage pretrain is trained anew, and stage finetune keeps what it has")


def test_progress_begins_with_the_number_of_the_stage(tmp_path):
    """In a narrow terminal what follows has to have its place."""
    arguments = ["--dataset=digits", "--train_mode=pretrain,finetune"]
    configs, _ = parse_command_line(*arguments, f"--model_dir={tmp_path}")
    assert Stages(configs).describe(1) == "2/2 finetune"
    assert Stages(configs[:1]).describe(0) == "training"


def test_a_report_of_a_chain_that_is_not_finished(tmp_path, log):
    """What there is of it can be compared."""
    run_files.write_text(
        tmp_path / run_files.CONFIG, json.dumps({"train_mode": "pretrain,finetune"})
    )
    folders = [epath.Path(tmp_path) / name for name in ("pretrain", "finetune")]
    assert stages_lib._run_directories(epath.Path(tmp_path)) == folders
    folders[0].mkdir()
    (folders[0] / run_files.RESULTS).write_text("{}")
    assert stages_lib._run_directories(epath.Path(tmp_path)) == folders[:1]
    assert "finetune: it is not in the report, since it was not evaluated yet" in log.text

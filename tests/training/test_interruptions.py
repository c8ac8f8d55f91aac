"""A chain as processes: killed and started again, it ends as the one that nothing disturbs."""

import concurrent.futures
import dataclasses
import functools
import json
import os
import re
import shutil
import signal

import pytest

from tests.helpers.configurations import parse_command_line
from tests.helpers.processes import (
    DIGITS,
    HERE,
    SECONDS_KEY,
    TINY,
    Fork,
    end_all,
    finish,
    messages,
    newest,
    steps_saved,
    the_line,
    the_message,
    variables,
)
from tf_simclr.commands.stages import Stages
from tf_simclr.report import schema
from tf_simclr.runs import files as run_files

pytestmark = pytest.mark.usefixtures("shallow")
STAGES = ("pretrain", "finetune", "distill")
STEPS = 24  # of each stage
CHAIN = [
    *DIGITS,
    *TINY,
    f"--train_mode={','.join(STAGES)}",
    "--mode=train_then_eval",
    "--labels_per_class=4",
    "--finetune.ft_proj_selector=1",
    "--finetune.probe_init_logits_layer=True",
    "--distill.unlabeled_ratio=7",
    f"--train_steps={STEPS}",
    "--checkpoint_steps=2",
    "--memory_size=100",
    "--deterministic",
    "--untrained_baseline=False",
    "--eval_batch_size=8",
    "--eval_steps=2",
    "--color_jitter_strength=0",  # colors take seconds to compile
]
fork = functools.partial(Fork, outputs=False)  # no test here is about what a stage exports


@dataclasses.dataclass(frozen=True)
class End:
    """How a start ended: exit status, stderr and newest step."""

    status: int
    stderr: str
    step: int


def undisturbed_run(folder):
    status, stderr = finish(fork(*CHAIN, f"--model_dir={folder / 'undisturbed'}"))
    assert status == 0, stderr
    return folder / "undisturbed"


def disturbed_run(folder):
    """The same chain, disturbed and started again: (directory, an `End` of each start)."""
    directory = folder / "disturbed"
    ends = []
    for stage, step, number in (  # the step after it is not one that is saved anyway
        ("pretrain", 5, signal.SIGKILL),
        ("pretrain", 8, signal.SIGTERM),
        ("distill", 4, signal.SIGINT),
    ):
        signal_after = (directory / stage, step, number)
        process = fork(*CHAIN, f"--model_dir={directory}", signal_after=signal_after)
        ends.append(End(*finish(process), newest(directory / stage)))
    process = fork(f"--model_dir={directory}", "--mode=train_then_eval")
    ends.append(End(*finish(process), newest(directory / "distill")))
    return directory, ends


@pytest.fixture(scope="module")
def background(tmp_path_factory):
    """Futures of both, which run side by side."""
    folder = tmp_path_factory.mktemp("runs")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield {make: pool.submit(make, folder) for make in (disturbed_run, undisturbed_run)}
        pool.shutdown(wait=False, cancel_futures=True)
        end_all()


@pytest.fixture(scope="module")
def undisturbed(background):
    return background[undisturbed_run].result()


@pytest.fixture(scope="module")
def disturbed(background):
    return background[disturbed_run].result()


def test_signals(disturbed):
    directory, (killed, terminated, interrupted, last) = disturbed
    assert killed.status == -signal.SIGKILL and 0 < killed.step <= STEPS
    for end, status in ((terminated, 143), (interrupted, 130)):
        assert end.status == status, end.stderr
        assert end.step < STEPS
        line = the_line(end.stderr)
        assert f"interrupted at step {end.step} of {STEPS}" in line
        assert line == messages(end.stderr)[-1]
    the_message(terminated.stderr)  # and nothing else, where no stage was finished
    assert killed.step < terminated.step
    assert f"resuming from {directory}/pretrain/ckpt-{terminated.step}" in interrupted.stderr
    assert f"resuming from {directory}/distill/ckpt-{interrupted.step}" in last.stderr
    assert last.status == 0 and last.step == STEPS, last.stderr
    assert len(steps_saved(directory / "pretrain")) <= 5  # keep_checkpoint_max


def test_finished_stages_are_skipped(disturbed, main):
    directory, (_, _, interrupted, last) = disturbed
    status, stderr = main(f"--model_dir={directory}", "--mode=train_then_eval")
    assert status == 0 and newest(directory / "distill") == STEPS, stderr
    assert finished_stages(interrupted.stderr) == []
    assert finished_stages(last.stderr) == ["pretrain", "finetune"]
    assert finished_stages(stderr) == list(STAGES)


def finished_stages(stderr):
    return [stage for stage in STAGES if f"stage {stage} is finished" in stderr]


@pytest.mark.parametrize("stage", STAGES)
def test_metrics_of_each_step_are_there_once(disturbed, undisturbed, stage):
    """Beside those of the steps at which a start was interrupted."""
    directory, ends = disturbed
    expected, lines = metrics_of(undisturbed / stage), metrics_of(directory / stage)
    assert [step for step, _ in expected] == [1, 11, 21, STEPS, STEPS]
    interrupted = {end.step for end in ends} - {step for step, _ in expected}
    assert [line for line in lines if line[0] not in interrupted] == expected


def metrics_of(directory):
    """[(step, metrics)] of a stage, without the times."""
    steps_and_metrics = []
    for text in (directory / run_files.METRICS).read_text().splitlines():
        line = json.loads(text)
        for name in ("wall_time", "train/data_time"):
            line.pop(name, None)
        steps_and_metrics.append((line.pop("step"), line))
    return steps_and_metrics


@pytest.mark.parametrize("stage", STAGES)
def test_resumed_run_ends_in_the_same_bits(disturbed, undisturbed, stage):
    directory, _ = disturbed
    expected, values = variables(undisturbed / stage), variables(directory / stage)
    assert expected.keys() == values.keys()
    assert any("memory_queue" in name for name in values) == (stage == "pretrain")
    for name in values.keys() - {SECONDS_KEY}:
        assert values[name].tobytes() == expected[name].tobytes(), name


def test_resumed_chain_ends_with_the_same_table(disturbed, undisturbed):
    directory, ends = disturbed
    results = results_of(directory)
    assert results == results_of(undisturbed)
    for stage, result in results.items():
        assert re.search(rf"\n\| {stage} +\| 40 +\| ", ends[-1].stderr)
        assert result["labels"] == 40
        assert result["global_step"] == result["total_steps"] == STEPS


def results_of(directory):
    """{stage: metrics} of a chain, without the minutes that the training took."""
    results = json.loads((directory / "result.json").read_text())
    assert list(results) == list(STAGES)
    for result in results.values():
        assert 0 < result.pop("train_minutes") < 60
    return results


def test_all_stages_use_the_same_labels(undisturbed):
    first, second, third = (
        json.loads((undisturbed / stage / "labels.json").read_text()) for stage in STAGES
    )
    assert first == second == third and len(first["ids"]) == 40


@pytest.fixture
def copy(undisturbed, tmp_path):
    """The finished chain in another place."""
    return shutil.copytree(undisturbed, tmp_path / "copy")


def stages_of(*arguments):
    configs, _ = parse_command_line(*arguments)
    return Stages(configs)


def skipped(stages):
    return [stages.skips(number) for number in range(len(STAGES))]


def test_what_counts_as_finished(copy):
    """Not metrics of another evaluation; fewer stages take nothing away from those that ran."""
    in_copy = f"--model_dir={copy}"
    saved_flags = (copy / "flags.json").read_text()
    assert skipped(stages_of(*CHAIN, in_copy)) == [True, True, True]
    assert skipped(stages_of(*CHAIN, in_copy, "--eval_steps=1")) == [False, False, False]
    without_distill = [flag for flag in CHAIN if "--distill." not in flag]
    fewer = stages_of(*without_distill, in_copy, "--train_mode=pretrain,finetune")
    fewer.commit()
    fewer.write_results()
    assert (copy / "flags.json").read_text() == saved_flags
    assert list(json.loads((copy / "result.json").read_text())) == list(STAGES)
    train_mode = "pretrain,finetune,distill,distill-b"
    stages_of(*CHAIN, in_copy, f"--train_mode={train_mode}").commit()
    assert json.loads((copy / "flags.json").read_text())["train_mode"] == train_mode


def test_a_report_that_is_newer_than_the_results_stays(copy, monkeypatch, logged):
    written = []
    monkeypatch.setattr(Stages, "write_report", lambda stages: written.append(stages))
    stages = stages_of(*CHAIN, f"--model_dir={copy}")
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    os.utime(copy / run_files.REPORT, (2, 2))
    logged()
    stages.write_results()
    assert not written
    assert any(message.startswith("verdict:\nOn 16 test images") for message in logged())
    os.utime(copy / "distill" / run_files.RESULTS, (3, 3))
    stages.write_results()
    assert len(written) == 1


def test_a_stage_is_evaluated_by_itself_wherever_it_is(copy, main):
    before = json.loads((copy / "finetune" / "result.json").read_text())
    status, stderr = main("--mode=eval", f"--model_dir={copy}/finetune/", *HERE)
    assert status == 0, stderr
    after = json.loads((copy / "finetune" / "result.json").read_text())
    for name in ("eval/label_top_1_accuracy", "labels", "train_minutes"):
        assert after[name] == pytest.approx(before[name])


def test_directory_of_a_chain_and_of_a_run(undisturbed, main, tmp_path):
    """Neither can be put over the other."""
    chain = f"--model_dir={undisturbed}"
    run = f"--model_dir={undisturbed / 'pretrain'}"
    new = f"--model_dir={tmp_path}"
    teacher = ["--train_mode=distill", f"--teacher_checkpoint={undisturbed}"]
    for arguments, message in (
        ([chain, *DIGITS, *TINY], "train_mode is pretrain,finetune,distill there"),
        ([run, *CHAIN], "holds a single run"),
        ([chain, *CHAIN, "--distill.seed=1"], "seed is 0 there, 1 here"),
        ([new, *DIGITS, *TINY, *HERE, *teacher], "but in "),
    ):
        status, stderr = main(*arguments)
        assert status == 2 and message in the_message(stderr)


def test_report_of_several_runs(undisturbed, main, tmp_path):
    """The stages of a chain beside a single run; what is no run ends in one line."""
    single = shutil.copytree(undisturbed / "pretrain", tmp_path / "single")
    document = schema.read(single)
    document["run"] = {**document["run"], "name": "single"}
    (single / run_files.RESULTS).write_text(json.dumps(document))
    new = f"--model_dir={tmp_path / 'page'}"
    status, stderr = main("--mode=report", f"--report_runs={undisturbed},{single}", new)
    assert status == 0, stderr
    page = (tmp_path / "page" / "report.html").read_text()
    assert all(f">{name}<" in page for name in (*STAGES, "single")), STAGES
    assert (undisturbed / "report.html").exists()
    verdict = (undisturbed / run_files.VERDICT).read_text()
    assert (
        verdict.startswith("On 16 test images, with 40 labels: ")
        and "intervals are wide" in verdict
    )
    status, stderr = main("--mode=report", f"--report_runs={tmp_path}", new)
    assert status == 2 and "it has no results.json" in the_message(stderr)
    status, stderr = main("--mode=report", f"--model_dir={tmp_path / 'nothing'}")
    assert status == 2 and "there is no directory" in the_message(stderr)

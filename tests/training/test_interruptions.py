"""A chain as processes: killed and started again, it ends as the one that nothing disturbs."""

import concurrent.futures
import json
import random
import shutil
import signal

import pytest

from tests.helpers.configurations import parse_command_line
from tests.helpers.processes import (
    DIGITS,
    HERE,
    SMALL,
    TINY,
    end_all,
    finish,
    messages,
    newest,
    signal_after,
    start,
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
    "--eval_batch_size=64",
    "--eval_steps=2",
]


def undisturbed_run(folder):
    status, stderr = finish(start(*CHAIN, f"--model_dir={folder / 'undisturbed'}", program=SMALL))
    assert status == 0, stderr
    return folder / "undisturbed"


def disturbed_run(folder):
    """The same chain, disturbed and started again: (directory, [(status, stderr, step)])."""
    directory, ends = folder / "disturbed", []
    for stage, number in (
        ("pretrain", signal.SIGKILL),
        ("pretrain", signal.SIGTERM),
        ("distill", signal.SIGINT),
    ):
        step = random.randrange(2, 8) if number == signal.SIGKILL else newest(directory / stage) + 1
        process = start(*CHAIN, f"--model_dir={directory}", program=SMALL)
        signal_after(process, directory / stage, step, number)
        status, stderr = finish(process)
        ends.append((status, stderr, newest(directory / stage)))
    status, stderr = finish(
        start(f"--model_dir={directory}", "--mode=train_then_eval", program=SMALL)
    )
    return directory, [*ends, (status, stderr, newest(directory / "distill"))]


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
    assert killed[0] == -signal.SIGKILL and 0 < killed[2] <= STEPS
    for (status, stderr, step), expected in ((terminated, 143), (interrupted, 130)):
        assert status == expected, stderr
        assert (
            f"interrupted at step {step} of {STEPS}" in the_line(stderr) == messages(stderr)[-1]
            and step < STEPS
        )
    the_message(terminated[1])  # and nothing else, where no stage was finished
    assert killed[2] < terminated[2]
    assert f"resuming from {directory}/pretrain/ckpt-{terminated[2]}" in interrupted[1]
    assert f"resuming from {directory}/distill/ckpt-{interrupted[2]}" in last[1]
    assert last[0] == 0 and last[2] == STEPS, last[1]
    assert len(steps_saved(directory / "pretrain")) <= 5  # keep_checkpoint_max


def test_finished_stages_are_skipped(disturbed, main):
    again = main(f"--model_dir={disturbed[0]}", "--mode=train_then_eval")
    assert again[0] == 0 and newest(disturbed[0] / "distill") == STEPS, again[1]
    for stderr, finished in zip(
        (disturbed[1][2][1], disturbed[1][3][1], again[1]), (0, 2, 3), strict=True
    ):
        assert [stage for stage in STAGES if f"stage {stage} is finished" in stderr] == list(
            STAGES[:finished]
        )


@pytest.mark.parametrize("stage", STAGES)
def test_resumed_run_ends_in_the_same_bits(disturbed, undisturbed, stage):
    expected, got = variables(undisturbed / stage), variables(disturbed[0] / stage)
    assert expected.keys() == got.keys() and any("memory_queue" in name for name in got) == (
        stage == "pretrain"
    )
    assert [
        name
        for name in got
        if got[name].tobytes() != expected[name].tobytes()
        and name != "seconds/.ATTRIBUTES/VARIABLE_VALUE"
    ] == []


def test_resumed_chain_ends_with_the_same_table(disturbed, undisturbed):
    tables = []
    for directory, log in ((undisturbed, None), (disturbed[0], disturbed[1][-1][1])):
        results = json.loads((directory / "result.json").read_text())
        assert list(results) == list(STAGES) and all(
            0 < results[stage].pop("train_minutes") < 60 for stage in STAGES
        )
        tables.append(results)
        assert log is None or all(f"\n| {stage} | 40 | " in log for stage in STAGES)
    assert tables[0] == tables[1]
    assert all(
        result["labels"] == 40 and result["global_step"] == result["total_steps"] == STEPS
        for result in tables[0].values()
    )


def test_all_stages_use_the_same_labels(undisturbed):
    subsets = [json.loads((undisturbed / stage / "labels.json").read_text()) for stage in STAGES]
    assert subsets[0] == subsets[1] == subsets[2] and len(subsets[0]["ids"]) == 40


@pytest.fixture
def copy(undisturbed, tmp_path):
    """The finished chain in another place."""
    return shutil.copytree(undisturbed, tmp_path / "copy")


def stages_of(*arguments):
    return Stages(parse_command_line(*arguments)[0])


def test_what_counts_as_finished(copy):
    """Not figures of another evaluation; and fewer stages take nothing away from those that ran."""
    known = (copy / "flags.json").read_text()
    assert [stages_of(*CHAIN, f"--model_dir={copy}").skips(number) for number in range(3)] == [
        True
    ] * 3
    assert [
        stages_of(*CHAIN, f"--model_dir={copy}", "--eval_steps=1").skips(number)
        for number in range(3)
    ] == [False] * 3
    fewer = stages_of(
        *(flag for flag in CHAIN if "--distill." not in flag),
        f"--model_dir={copy}",
        "--train_mode=pretrain,finetune",
    )
    fewer.commit()
    fewer.report()
    assert (copy / "flags.json").read_text() == known and list(
        json.loads((copy / "result.json").read_text())
    ) == list(STAGES)
    more = stages_of(
        *CHAIN, f"--model_dir={copy}", "--train_mode=pretrain,finetune,distill,distill-b"
    )
    more.commit()
    assert (
        json.loads((copy / "flags.json").read_text())["train_mode"]
        == "pretrain,finetune,distill,distill-b"
    )


def test_a_stage_is_evaluated_by_itself_wherever_it_is(copy, main):
    before = json.loads((copy / "finetune" / "result.json").read_text())
    status, stderr = main("--mode=eval", f"--model_dir={copy}/finetune/", *HERE)
    assert status == 0, stderr
    after = json.loads((copy / "finetune" / "result.json").read_text())
    assert {
        name: after[name] for name in ("eval/label_top_1_accuracy", "labels", "train_minutes")
    } == {
        name: pytest.approx(before[name])
        for name in ("eval/label_top_1_accuracy", "labels", "train_minutes")
    }


def test_directory_of_a_chain_and_of_a_run(undisturbed, main, tmp_path):
    """Neither can be put over the other."""
    for arguments, said in (
        (
            [f"--model_dir={undisturbed}", *DIGITS, *TINY],
            "train_mode is pretrain,finetune,distill there",
        ),
        ([f"--model_dir={undisturbed / 'pretrain'}", *CHAIN], "holds a single run"),
        ([*CHAIN, f"--model_dir={undisturbed}", "--distill.seed=1"], "seed is 0 there, 1 here"),
        (
            [
                *DIGITS,
                *TINY,
                *HERE,
                "--train_mode=distill",
                f"--teacher_checkpoint={undisturbed}",
                f"--model_dir={tmp_path}",
            ],
            "but in ",
        ),
    ):
        status, stderr = main(*arguments)
        assert status == 2 and said in the_message(stderr)


def test_report_of_several_runs(undisturbed, main, tmp_path):
    """The stages of a chain beside a single run; what is no run ends in one line."""
    single = shutil.copytree(undisturbed / "pretrain", tmp_path / "single")
    document = schema.read(single)
    (single / run_files.RESULTS).write_text(
        json.dumps({**document, "run": {**document["run"], "name": "single"}})
    )
    runs = f"{undisturbed},{single}"
    status, stderr = main(
        "--mode=report", f"--report_runs={runs}", f"--model_dir={tmp_path / 'page'}"
    )
    assert status == 0, stderr
    page = (tmp_path / "page" / "report.html").read_text()
    assert all(f">{name}<" in page for name in (*STAGES, "single")), STAGES
    assert (undisturbed / "report.html").exists()
    status, stderr = main(
        "--mode=report", f"--report_runs={tmp_path}", f"--model_dir={tmp_path / 'page'}"
    )
    assert status == 2 and "it has no results.json" in the_message(stderr)
    status, stderr = main("--mode=report", f"--model_dir={tmp_path / 'nothing'}")
    assert status == 2 and "has no flags.json" in the_message(stderr)

"""`run.py` as its users start it: whole runs, interruptions, resuming, exit statuses, files, and wrong input.

Whole runs are processes of their own, in the background (BACKGROUND), while the other tests call `run.main` here.
"""

import concurrent.futures
import fcntl
import json
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import browser
import numpy as np
import pytest
import tensorflow as tf
from absl import flags as absl_flags
from conftest import command_line
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator

import run
from tf_simclr.report import schema
from tf_simclr.stages import Stages

ROOT = pathlib.Path(__file__).resolve().parent.parent
DIGITS = ["--dataset=digits", "--eval_split=test"]
TINY = ["--image_size=16", "--resnet_depth=18", "--width_multiplier=0.07", "--proj_out_dim=8", "--train_batch_size=64",
        "--use_blur=False", "--warmup_epochs=0", "--evaluations=classifier"]
STEPS = 12
WHOLE = [*DIGITS, *TINY, "--evaluations=classifier,clustering,neighbors,health", "--mode=train_then_eval", f"--train_steps={STEPS}", "--num_cpu_devices=2"]
STAGES = ("pretrain", "finetune", "distill")
LONG_STEPS = 24  # of each stage
LONG = [*DIGITS, *TINY, f"--train_mode={','.join(STAGES)}", "--mode=train_then_eval", "--labels_per_class=4", "--finetune.ft_proj_selector=1",
        "--finetune.probe_init_logits_layer=True", "--distill.unlabeled_ratio=7", f"--train_steps={LONG_STEPS}", "--checkpoint_steps=2",
        "--memory_size=100", "--deterministic", "--untrained_baseline=False"]
HERE = ["--strategy=one_device"]  # in this process, which has two devices
OUTPUTS = {"initial_conv", "initial_max_pool", "block_group1", "block_group2", "block_group3", "block_group4",
           "final_avg_pool", "logits_sup", "proj_head_input", "proj_head_output", "embedding", "probabilities"}
TAGS = {"train/weight_decay", "train/total_loss", "train/contrast_loss", "train/contrast_acc", "train/contrast_entropy",
        "train/supervised_loss", "train/supervised_acc", "learning_rate", "image"}
LOG_LINE = re.compile(r"\d\d:\d\d:\d\d |[IWEF]\d{4} \d\d:|WARNING: (All log messages before absl|Logging before flag)")
SECONDS = 240  # after which a process hangs


STARTED = []


def start(*arguments):
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    STARTED.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    return STARTED[-1]


def finish(process):
    """(exit status, stderr) of a process, which is not left alone."""
    try:
        stderr = process.communicate(timeout=SECONDS)[1]
    finally:
        process.kill()
    return process.returncode, stderr


def messages(stderr):
    """The lines of stderr that neither the log nor TensorFlow's C++ has written."""
    return [line for line in stderr.splitlines() if line and not LOG_LINE.match(line)]


def the_message(stderr):
    lines = messages(stderr)
    assert len(lines) == 1 and lines[0].startswith("run.py: "), stderr
    return lines[0]


def steps_saved(directory):
    return sorted(int(path.stem.split("-")[1]) for path in directory.glob("ckpt-*.index"))


def newest(directory):
    return max(steps_saved(directory), default=0)


def signal_after(process, directory, step, number):
    """Sends a signal once a checkpoint of `step` or later is there; (exit status, stderr)."""
    end = time.monotonic() + SECONDS
    while newest(directory) < step and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(number)
    return finish(process)


def variables(directory):
    """{key: value} of the newest checkpoint; not how often it was saved."""
    reader = tf.train.load_checkpoint(str(directory))
    names = [name for name in reader.get_variable_to_shape_map() if not name.startswith(("_", "save_counter"))]
    return {name: np.asarray(reader.get_tensor(name)) for name in names}


def snapshot(directory):
    """What must not change: names, times and contents of all files."""
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in directory.rglob("*") if path.is_file()}


def undisturbed_run(folder):
    status, stderr = finish(start(*LONG, f"--model_dir={folder / 'undisturbed'}"))
    assert status == 0, stderr
    return folder / "undisturbed"


def disturbed_run(folder):
    """The same chain, killed in each stage, terminated, interrupted, started again: (directory, [(status, stderr, step)])."""
    directory, ends = folder / "disturbed", []
    for stage, number in (("pretrain", signal.SIGKILL), ("pretrain", signal.SIGTERM), ("pretrain", signal.SIGINT),
                          ("finetune", signal.SIGKILL), ("distill", signal.SIGKILL)):
        step = random.randrange(2, 8) if number == signal.SIGKILL else newest(directory / stage) + 1
        status, stderr = signal_after(start(*LONG, f"--model_dir={directory}"), directory / stage, step, number)
        ends.append((status, stderr, newest(directory / stage)))
    for _ in range(2):  # to the end, and once more
        status, stderr = finish(start(f"--model_dir={directory}", "--mode=train_then_eval"))
        ends.append((status, stderr, newest(directory / "distill")))
    return directory, ends


def whole_run(folder):
    """Training, evaluation and export on two devices: (directory, result of the first start, of the second one)."""
    directory = folder / "whole"
    first = finish(start(*WHOLE, f"--model_dir={directory}"))
    before = {path: content for path, content in snapshot(directory).items() if "ckpt" in path}
    for step in (2, 10):
        (directory / "saved_model" / str(step)).mkdir(parents=True)
    second = finish(start(f"--model_dir={directory}", "--num_cpu_devices=1"))
    unchanged = before == {path: content for path, content in snapshot(directory).items() if "ckpt" in path}
    return directory, first, second, unchanged


BACKGROUND = {"undisturbed": undisturbed_run, "disturbed": disturbed_run, "whole": whole_run}


@pytest.fixture(scope="module", autouse=True)
def background(request, tmp_path_factory):
    """{name: future} of those whole runs that the chosen tests need."""
    wanted = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    folder = tmp_path_factory.mktemp("runs")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        order = ["whole", "disturbed", "undisturbed"]
        yield {name: pool.submit(BACKGROUND[name], folder) for name in order if name in wanted}
        pool.shutdown(wait=False, cancel_futures=True)
        for process in STARTED:  # after Ctrl-C or with -x they may still run
            process.kill()


@pytest.fixture(scope="module")
def undisturbed(background):
    return background["undisturbed"].result()


@pytest.fixture(scope="module")
def disturbed(background):
    return background["disturbed"].result()


@pytest.fixture(scope="module")
def whole(background):
    return background["whole"].result()


@pytest.fixture
def main(monkeypatch, capsys):
    """A function: arguments -> (exit status, stderr) of run.py in this process."""

    def call(*arguments):
        monkeypatch.setattr(absl_flags, "FLAGS", absl_flags.FlagValues())
        capsys.readouterr()
        status = run.main(["run.py", *map(str, arguments)])
        return status, capsys.readouterr().err

    return call


@pytest.fixture
def images(tmp_path):
    """A function: (folder, count) -> PNG files in it."""

    def make(folder, count=12):
        folder.mkdir(parents=True)
        for i in range(count):
            noise = np.random.default_rng(i).integers(0, 256, (20 + i, 24, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{i}.png")

    return make


# ---------------------------------------------------------------- wrong input that needs no TensorFlow


@pytest.mark.parametrize(("arguments", "said"), [
    (["--learning_rat=1"], "'learning_rate'"),
    (["--optimizer=sgd"], "momentum, adam, lars"),
    (["--train_batch_size=0"], "at least 1"),
    (["--temperature=nan"], "--temperature=nan"),
    (["--image_size=big"], "whole number"),
    (["--use_blur=perhaps"], "true or false"),
    (["--config=digits_quickstrat"], "'digits_quickstart'"),
    (["--config={tmp}/bad.yaml"], "bad.yaml"),
    (["digits"], "--name=value"),
    (["--eval_name=a\nb", "--seed=c\nd"], "--seed=c d"),
    (["--labels_per_class=3", "--label_fraction=0.1"], "leave one of them out"),
    (["--crop_area=0.9,0.2"], "--crop_area=0.2,0.9"),
])
def test_wrong_input_before_tensorflow(tmp_path, main, arguments, said):
    (tmp_path / "bad.yaml").write_text("seed: [1")
    status, stderr = main(*[argument.format(tmp=tmp_path) for argument in arguments], f"--model_dir={tmp_path / 'run'}")
    assert status == 2 and said in the_message(stderr)
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- wrong input that needs TensorFlow


@pytest.mark.parametrize(("arguments", "said"), [
    (["--dataset=folder:{tmp}/nowhere"], "no such folder"),
    (["--dataset=folder:{tmp}/file"], "not a folder"),
    (["--dataset=folder:{tmp}/empty"], "no image"),
    (["--dataset=folder:{tmp}/broken"], "none of the 2 images can be read"),
    (["--dataset=folder:{tmp}/flat", "--train_mode=finetune"], "no labels"),
    (["--dataset=folder:{tmp}/flat", "--label_fraction=0.5"], "no labels"),
    (["--dataset=digit"], "digits"),
    (["--train_split=trian"], "'train'"),
    (["--eval_split=tset", "--mode=train_then_eval"], "'test'"),
    (["--labels_per_class=1000"], "at most that many"),
    (["--model_dir={tmp}/file"], "it is a file"),
    (["--model_dir={tmp}/file/run"], "--model_dir="),
    (["--mode=eval"], "no checkpoint to evaluate"),
    (["--strategy=multi_worker"], "TF_CONFIG"),
    (["--teacher_checkpoint={tmp}/nowhere", "--train_mode=distill"], "no such file or directory"),
    (["--train_mode=distill"], "give --teacher_checkpoint="),
    (["--unlabeled_ratio=2"], "0 without"),
    (["--checkpoint={tmp}/nowhere"], "no such file or directory"),
    (["--checkpoint={tmp}/empty"], "there is no checkpoint in it"),
])
def test_wrong_input(tmp_path, main, images, monkeypatch, arguments, said):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    for i in range(2):
        (tmp_path / "broken" / f"{i}.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    if "flat" in str(arguments):
        images(tmp_path / "flat")
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    status, stderr = main(*DIGITS, *TINY, *HERE, "--train_steps=1", f"--model_dir={tmp_path / 'run'}", *arguments)
    message = the_message(stderr)
    assert status == 2 and said in message
    assert re.split("[=/]", arguments[0])[-1] in message  # what was received
    if "--checkpoint" not in arguments[0]:
        assert not (tmp_path / "run").exists()


def test_batch_that_the_replicas_cannot_share(tmp_path, main):
    status, stderr = main(*DIGITS, *TINY, "--train_batch_size=63", f"--model_dir={tmp_path / 'run'}")
    assert status == 2 and "--train_batch_size=64" in the_message(stderr)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("arguments", "said"), [
    (["--dataset=folder:/none/there"], "no such folder"),
    (["--learning_rat=1"], "'learning_rate'"),
])
def test_wrong_input_in_a_process(tmp_path, arguments, said):
    status, stderr = finish(start(*arguments, f"--model_dir={tmp_path / 'run'}"))
    assert status == 2 and said in the_message(stderr)
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- small runs in this process


def test_folder_without_labels(tmp_path, main, images):
    images(tmp_path / "photos")
    status, stderr = main(f"--dataset=folder:{tmp_path / 'photos'}", *TINY, *HERE, "--mode=train_then_eval",
                          "--train_batch_size=8", "--train_steps=2", f"--model_dir={tmp_path / 'run'}")
    assert status == 0, stderr
    assert "no labels" in stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["global_step"] == 2 and not any("accuracy" in name for name in result)
    module = tf.saved_model.load(str(tmp_path / "run" / "saved_model" / "2"))
    assert set(module(tf.zeros([1, 16, 16, 3]), trainable=False)) == OUTPUTS - {"logits_sup", "probabilities"}


def test_divergence_ends_the_run(tmp_path, main):
    status, stderr = main(*DIGITS, *TINY, *HERE, "--learning_rate=1e30", "--optimizer=momentum", "--train_steps=9",
                          "--checkpoint_steps=1", f"--model_dir={tmp_path / 'run'}")
    message = the_message(stderr)
    step = newest(tmp_path / "run") + 1
    assert status == 1 and re.search(rf"step {step}: not finite: .*total_loss", message)
    assert step > 1 and str(tmp_path / "run" / f"ckpt-{step - 1}") in message
    values = variables(tmp_path / "run")
    assert [name for name, value in values.items() if not np.isfinite(value).all()] == []


# ---------------------------------------------------------------- the whole run


def test_whole_run_writes_its_files(whole):
    directory, (status, stderr), _, _ = whole
    assert status == 0, stderr
    assert "2 replicas" in stderr
    result = json.loads((directory / "result.json").read_text())
    assert result == json.loads((directory / f"result_{STEPS}.json").read_text())
    assert result["global_step"] == STEPS == newest(directory)
    keys = ("eval/label_top_1_accuracy", "eval/label_top_5_accuracy", "eval/regularization_loss")
    assert all(0 <= result[key] <= 1 for key in keys)
    saved = json.loads((directory / "flags.json").read_text())
    assert saved["train_steps"] == STEPS and saved["dataset"] == "digits" and saved["use_blur"] is False


def test_whole_run_writes_tensorboard_events(whole):
    events = event_accumulator.EventAccumulator(str(whole[0]), {event_accumulator.TENSORS: 0}).Reload()
    assert set(events.Tags()["tensors"]) >= TAGS
    curves = {tag: {event.step: tf.make_ndarray(event.tensor_proto) for event in events.Tensors(tag)} for tag in TAGS}
    assert list(curves["train/total_loss"]) == [1, 11, STEPS]
    assert curves["learning_rate"][1] == pytest.approx(0.3 * 64 / 256)
    for step in curves["train/total_loss"]:
        parts = [curves[f"train/{name}"][step] for name in ("contrast_loss", "supervised_loss", "weight_decay")]
        assert curves["train/total_loss"][step] == pytest.approx(sum(parts), rel=1e-5)
    assert len(curves["image"][1]) > 2  # width, height, PNG files
    evaluation = event_accumulator.EventAccumulator(str(whole[0] / "eval")).Reload()
    assert "eval/label_top_1_accuracy" in evaluation.Tags()["tensors"]


def test_whole_run_has_a_report(whole):
    """A page that a browser has nothing to say about, of what results.json holds."""
    directory = whole[0]
    document = schema.read(directory)
    assert document["run"]["step"] == STEPS and document["figures"]["trained"]["classifier"] and document["figures"]["pixels"]["pixels"]
    page = (directory / "report.html").read_text()
    assert all(f'id="{name}"' in page for name in ("runs", "recipe", "evaluations", "curves", "map", "neighbors", "classifier", "views", "repeat"))
    if browser.find() is not None:
        with browser.Browser() as opened:
            opened.open(directory / "report.html")
            assert (opened.complaints(), opened.outside()) == ([], [])


def test_report_of_several_runs(whole, undisturbed, main, tmp_path):
    """The stages of a chain beside a single run; what is no run ends in one line."""
    runs = f"{undisturbed},{whole[0]}"
    status, stderr = main("--mode=report", f"--report_runs={runs}", f"--model_dir={tmp_path / 'page'}")
    assert status == 0, stderr
    page = (tmp_path / "page" / "report.html").read_text()
    assert all(f">{name}<" in page for name in (*STAGES, "whole")), STAGES
    assert (undisturbed / "report.html").exists()
    status, stderr = main("--mode=report", f"--report_runs={tmp_path}", f"--model_dir={tmp_path / 'page'}")
    assert status == 2 and "it has no results.json" in the_message(stderr)
    status, stderr = main("--mode=report", f"--model_dir={tmp_path / 'nothing'}")
    assert status == 2 and "has no flags.json" in the_message(stderr)


def test_second_start_of_a_complete_run(whole):
    directory, _, (status, stderr), checkpoints_unchanged = whole
    assert status == 0, stderr
    assert f"training is complete: step {STEPS} of {STEPS}" in stderr
    assert checkpoints_unchanged
    assert [path.name for path in (directory / "saved_model").iterdir()] == [str(STEPS)]  # keep_hub_module_max=1


def test_saved_model_loads_without_the_package(whole, tmp_path):
    code = """
import json, sys
sys.modules["tf_simclr"] = None  # importing it fails
import numpy as np, tensorflow as tf
module = tf.saved_model.load(sys.argv[1])
images = tf.constant(np.random.default_rng(0).random((3, 16, 16, 3)), tf.float32)
one = module(images[:1], trainable=False)
out = {trainable: module(images, trainable=trainable) for trainable in (False, True)}
print(json.dumps({
    "shapes": {str(mode): {name: value.shape.as_list() for name, value in out[mode].items()} for mode in out},
    "dtypes": sorted({value.dtype.name for mode in out for value in out[mode].values()}),
    "alone": float(tf.reduce_max(tf.abs(one["logits_sup"] - out[False]["logits_sup"][:1]))),
    "differ": float(tf.reduce_max(tf.abs(out[True]["final_avg_pool"] - out[False]["final_avg_pool"]))),
}))
"""
    command = [sys.executable, "-I", "-c", code, str(whole[0] / "saved_model" / str(STEPS))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for shapes in found["shapes"].values():
        assert set(shapes) == OUTPUTS
        assert shapes["logits_sup"] == [3, 10] and shapes["proj_head_output"] == [3, 8]
        assert shapes["final_avg_pool"] == shapes["proj_head_input"] == [3, 35]
        assert shapes["initial_conv"] == [3, 16, 16, 4]
    assert found["dtypes"] == ["float32"]
    assert found["alone"] < 1e-4 < found["differ"]  # batch norm: statistics of the training, of the batch


def finetune(whole):
    return [*DIGITS, *TINY, *HERE, "--train_mode=finetune", f"--checkpoint={whole[0]}", "--fine_tune_after_block=4",
            "--zero_init_logits_layer=True", "--optimizer=momentum", "--learning_rate=0.1", "--weight_decay=0"]


def test_exporting_and_embedding(whole, tmp_path):
    """As processes of their own; they need neither the data nor the flags of the training."""
    shutil.copytree(whole[0], tmp_path / "run", ignore=shutil.ignore_patterns("saved_model"))
    export = start("--mode=export", f"--model_dir={tmp_path / 'run'}", "--export_formats=tflite")
    embed = start("--mode=embed", *DIGITS, f"--checkpoint={whole[0]}", f"--model_dir={tmp_path / 'new'}", "--embed_split=test", "--embed_neighbors=3")
    status, stderr = finish(export)
    assert status == 0 and "classifier.tflite: " in stderr, stderr
    files = {path.relative_to(tmp_path / "run").as_posix() for path in (tmp_path / "run").rglob("*")}
    assert {f"saved_model/{STEPS}/saved_model.pb", f"tflite/{STEPS}/embedding_int8.tflite"} <= files
    card = (tmp_path / "run" / "saved_model" / str(STEPS) / "assets" / "model_card.md").read_text()
    assert "label_top_1_accuracy" in card and "1437 images, 1437 of them with a label" in card
    status, stderr = finish(embed)
    assert status == 0 and "| 0 | " in stderr, stderr
    with np.load(tmp_path / "new" / "embeddings.npz") as found:
        assert {name: values.shape for name, values in found.items()} == {
            "name": (360,), "split": (360,), "label": (360,), "embedding": (360, 35), "predicted": (360,), "score": (360,),
            "neighbors": (360, 3), "similarity": (360, 3)}


def test_evaluation_of_a_checkpoint(whole, tmp_path, main):
    """In a run directory of its own: the figures of the run that it is from."""
    status, stderr = main(*DIGITS, *TINY, *HERE, "--mode=eval", f"--checkpoint={whole[0]}", f"--model_dir={tmp_path / 'run'}", "--untrained_baseline=False")
    assert status == 0, stderr
    found, expected = (json.loads((path / "result.json").read_text()) for path in (tmp_path / "run", whole[0]))
    assert found["global_step"] == 0
    assert {name: found[name] for name in found if "accuracy" in name} == {name: expected[name] for name in found if "accuracy" in name} != {}
    shutil.rmtree(tmp_path / "run" / "saved_model")
    status, stderr = main("--mode=export", f"--model_dir={tmp_path / 'run'}", *HERE)  # it is a run now, whose weights are elsewhere
    assert status == 0 and (tmp_path / "run" / "saved_model" / "0" / "saved_model.pb").exists(), stderr


@pytest.mark.parametrize(("arguments", "said"), [
    (["--mode=export", "--model_dir=NEW"], "--mode=export: NEW has no flags.json; give the directory of a run as --model_dir"),
    (["--mode=embed"], "--mode=embed: no --model_dir is given"),
    (["--mode=export", "--model_dir=RUN", "--checkpoint=OTHER"], "--model_dir=RUN: it holds a run with another configuration (checkpoint is  there, OTHER here)"),
    (["--mode=export", "--model_dir=RUN", "--export_formats=tflite,savedmodel"], "--export_formats=savedmodel: accepted are saved_model, tflite, onnx."),
    (["--mode=embed", "--model_dir=RUN", "--embed_output=x.csv"], "--embed_output=x.csv: accepted are files that end in .npz and .parquet"),
    (["--mode=embed", "--model_dir=RUN", "--embed_split=trian"], "--embed_split=trian: digits has no such split, only train, test. Did you mean 'train'?"),
    (["--mode=embed", "--model_dir=RUN", "--embed_output=/dev/null/x.npz"], "--embed_output=/dev/null/x.npz: it can't be written"),
    (["--mode=eval", "--checkpoint=OTHER", "--model_dir=NEW", *DIGITS], "OTHER: no such file or directory"),
])
def test_what_can_not_be_exported_or_embedded(whole, tmp_path, main, arguments, said):
    names = {"NEW": str(tmp_path / "new"), "RUN": str(whole[0]), "OTHER": str(tmp_path / "other")}

    def named(text):
        for name, path in names.items():
            text = text.replace(name, path)
        return text

    before = snapshot(whole[0])
    status, stderr = main(*map(named, arguments), *HERE)
    assert status == 2 and named(said) in the_message(stderr), stderr
    assert snapshot(whole[0]) == before and not (tmp_path / "new").exists()


@pytest.mark.parametrize("augmented", [True, False])
def test_linear_evaluation_leaves_the_encoder_alone(whole, tmp_path, main, augmented):
    status, stderr = main(*finetune(whole), "--train_steps=3", "--mode=train_then_eval", f"--model_dir={tmp_path}",
                          f"--use_crop={augmented}", f"--use_flip={augmented}")
    assert status == 0, stderr
    assert ("computing once" in stderr) != augmented
    before, after = variables(whole[0]), variables(tmp_path)
    encoder = {name for name in after if ".Sencoder.S" in name and name.startswith("model/")}
    assert encoder == {name for name in before if ".Sencoder.S" in name and name.startswith("model/")}
    assert sum("moving_" in name for name in encoder) == 42  # 21 batch norms
    assert all(np.array_equal(before[name], after[name]) for name in encoder)
    kernel = next(name for name in after if "supervised_head.Skernel" in name and name.startswith("model/"))
    assert np.abs(after[kernel]).max() > 0
    assert json.loads((tmp_path / "result.json").read_text())["global_step"] == 3


@pytest.mark.parametrize(("arguments", "said"), [
    (["--width_multiplier=0.1"], "(3, 3, 3, 4) there and (3, 3, 3, 6) here"),
    (["--resnet_depth=34"], "missing there"),
    (["--resnet_depth=50", "--sk_ratio=0.0625"], "have no place here"),
])
def test_checkpoint_of_another_network(whole, tmp_path, main, arguments, said):
    before = snapshot(whole[0])
    status, stderr = main(*finetune(whole), "--train_steps=3", f"--model_dir={tmp_path / 'run'}", *arguments)
    message = the_message(stderr)
    assert status == 2 and said in message and str(whole[0]) in message
    assert snapshot(whole[0]) == before


def test_corrected_checkpoint_is_accepted_in_the_same_directory(whole, tmp_path, main):
    typo = [*finetune(whole), "--train_steps=1", f"--model_dir={tmp_path}", f"--checkpoint={whole[0]}x"]
    assert main(*typo)[0] == 2
    status, stderr = main(*typo, f"--checkpoint={whole[0]}")
    assert status == 0, stderr


def test_truncated_checkpoint(whole, tmp_path, main):
    shutil.copytree(whole[0], tmp_path / "copy")
    data = tmp_path / "copy" / f"ckpt-{STEPS}.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])
    before = snapshot(tmp_path / "copy")
    status, stderr = main(f"--model_dir={tmp_path / 'copy'}", *HERE)
    assert status == 2 and f"ckpt-{STEPS} can't be restored" in the_message(stderr)
    assert {name: before[name] for name in before if "ckpt" in name}.items() <= snapshot(tmp_path / "copy").items()
    status, stderr = main(*finetune(whole), f"--checkpoint={tmp_path / 'copy'}", f"--model_dir={tmp_path / 'new'}")
    assert status == 2 and "Read less bytes" in the_message(stderr)


@pytest.mark.parametrize(("arguments", "said"), [
    (["--seed=1"], "seed is 0 there, 1 here"),
    (["--learning_rate=1", "--temperature=1"], "learning_rate is 0.3 there, 1.0 here"),
    (["--dataset=digits"], "train_steps is 12 there, 0 here"),
])
def test_run_directory_with_another_configuration(whole, main, arguments, said):
    before = snapshot(whole[0])
    status, stderr = main(f"--model_dir={whole[0]}", *HERE, *arguments)
    assert status == 2 and said in the_message(stderr)
    assert snapshot(whole[0]) == before


def test_run_directory_in_use(whole, main):
    with open(whole[0] / "training.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = snapshot(whole[0])
        status, stderr = main(f"--model_dir={whole[0]}", *HERE, "--keep_checkpoint_max=1")
    assert status == 2 and "another process is training there" in the_message(stderr)
    assert snapshot(whole[0]) == before


def test_broken_flags_json(whole, tmp_path, main):
    (tmp_path / "flags.json").write_text((whole[0] / "flags.json").read_text()[:100])
    status, stderr = main(f"--model_dir={tmp_path}")
    assert status == 2 and str(tmp_path / "flags.json") in the_message(stderr)


# ---------------------------------------------------------------- interruptions


def test_signals(disturbed):
    directory, (killed, terminated, interrupted, in_finetune, in_distill, last, again) = disturbed
    for status, _, step in (killed, in_finetune, in_distill):
        assert status == -signal.SIGKILL and 0 < step <= LONG_STEPS
    for (status, stderr, step), expected in ((terminated, 143), (interrupted, 130)):
        assert status == expected, stderr
        assert f"interrupted at step {step} of {LONG_STEPS}" in the_message(stderr)
        assert step < LONG_STEPS
    assert killed[2] < terminated[2] < interrupted[2]
    assert f"resuming from {directory}/pretrain/ckpt-{interrupted[2]}" in in_finetune[1]
    assert last[0] == again[0] == 0 and last[2] == again[2] == LONG_STEPS, last[1] + again[1]
    assert len(steps_saved(directory / "pretrain")) <= 5  # keep_checkpoint_max


def test_finished_stages_are_skipped(disturbed):
    for (_, stderr, _), finished in zip(disturbed[1][4:], (1, 2, 3), strict=True):
        assert [stage for stage in STAGES if f"stage {stage} is finished" in stderr] == list(STAGES[:finished])


@pytest.mark.parametrize("stage", STAGES)
def test_resumed_run_ends_in_the_same_bits(disturbed, undisturbed, stage):
    expected, got = variables(undisturbed / stage), variables(disturbed[0] / stage)
    assert expected.keys() == got.keys() and any("memory_queue" in name for name in got) == (stage == "pretrain")
    assert [name for name in got if got[name].tobytes() != expected[name].tobytes() and name != "seconds/.ATTRIBUTES/VARIABLE_VALUE"] == []


def test_resumed_chain_ends_with_the_same_table(disturbed, undisturbed):
    tables = []
    for directory, log in ((undisturbed, None), (disturbed[0], disturbed[1][-1][1])):
        results = json.loads((directory / "result.json").read_text())
        assert list(results) == list(STAGES) and all(0 < results[stage].pop("train_minutes") < 60 for stage in STAGES)
        tables.append(results)
        assert log is None or all(f"\n| {stage} | 40 | " in log for stage in STAGES)
    assert tables[0] == tables[1]
    assert all(result["labels"] == 40 and result["global_step"] == result["total_steps"] == LONG_STEPS for result in tables[0].values())


def test_all_stages_use_the_same_labels(undisturbed):
    subsets = [json.loads((undisturbed / stage / "labels.json").read_text()) for stage in STAGES]
    assert subsets[0] == subsets[1] == subsets[2] and len(subsets[0]["ids"]) == 40


@pytest.fixture
def copy(undisturbed, tmp_path):
    """The finished chain in another place."""
    return shutil.copytree(undisturbed, tmp_path / "copy")


def stages_of(*arguments):
    return Stages(command_line(*arguments)[0])


def test_what_counts_as_finished(copy):
    """Not figures of another evaluation; and fewer stages take nothing away from those that ran."""
    known = (copy / "flags.json").read_text()
    assert [stages_of(*LONG, f"--model_dir={copy}").skips(number) for number in range(3)] == [True] * 3
    assert [stages_of(*LONG, f"--model_dir={copy}", "--eval_steps=1").skips(number) for number in range(3)] == [False] * 3
    fewer = stages_of(*(flag for flag in LONG if "--distill." not in flag), f"--model_dir={copy}", "--train_mode=pretrain,finetune")
    fewer.commit()
    fewer.report()
    assert (copy / "flags.json").read_text() == known and list(json.loads((copy / "result.json").read_text())) == list(STAGES)
    more = stages_of(*LONG, f"--model_dir={copy}", "--train_mode=pretrain,finetune,distill,distill-b")
    more.commit()
    assert json.loads((copy / "flags.json").read_text())["train_mode"] == "pretrain,finetune,distill,distill-b"


def test_a_stage_is_evaluated_by_itself_wherever_it_is(copy, main):
    before = json.loads((copy / "finetune" / "result.json").read_text())
    status, stderr = main("--mode=eval", f"--model_dir={copy}/finetune/", *HERE)
    assert status == 0, stderr
    after = json.loads((copy / "finetune" / "result.json").read_text())
    assert {name: after[name] for name in ("eval/label_top_1_accuracy", "labels", "train_minutes")} == {
        name: pytest.approx(before[name]) for name in ("eval/label_top_1_accuracy", "labels", "train_minutes")}


def test_directory_of_a_chain_and_of_a_run(undisturbed, whole, main, tmp_path):
    """Neither can be put over the other."""
    for arguments, said in (
            ([f"--model_dir={undisturbed}", *DIGITS, *TINY], "train_mode is pretrain,finetune,distill there"),
            ([f"--model_dir={whole[0]}", *LONG], "holds a single run"),
            ([*LONG, f"--model_dir={undisturbed}", "--distill.seed=1"], "seed is 0 there, 1 here"),
            ([*DIGITS, *TINY, *HERE, "--train_mode=distill", f"--teacher_checkpoint={undisturbed}", f"--model_dir={tmp_path}"], "but in ")):
        status, stderr = main(*arguments)
        assert status == 2 and said in the_message(stderr)

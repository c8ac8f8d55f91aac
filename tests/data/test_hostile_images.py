"""Images that are broken, hostile or gone: skipped, counted and named, also while training."""

import io
import os
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.helpers.processes import HERE, TINY, the_line
from tf_simclr import config
from tf_simclr.data import datasets, image_folder, mixture, pipeline
from tf_simclr.data.unreadable import replace_unreadable
from tf_simclr.errors import Failed
from tf_simclr.training import loop
from tf_simclr.training.experiment import build_experiment
from tf_simclr.training.periodic_work import PeriodicWork


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(width=24, height=20, mode="RGB", seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def bomb(width, height):
    """A PNG of a few kB that would take gigabytes."""

    def chunk(name, data):
        length = len(data).to_bytes(4, "big")
        checksum = zlib.crc32(name + data).to_bytes(4, "big")
        return length + name + data + checksum

    packer = zlib.compressobj(9)
    scanlines = [packer.compress(bytes(1 + width // 8)) for _ in range(height)]
    pixels = b"".join([*scanlines, packer.flush()])
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\1\0\0\0\0"
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def sixteen_bit():
    return Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100)


def animated(kind):
    frames = [noise(mode="P", seed=seed) for seed in range(3)]
    return encoded(noise(mode="P"), kind, save_all=True, append_images=frames)


GOOD = {
    "png_in_truth.jpg": lambda: encoded(noise(), "PNG"),
    "cmyk.jpg": lambda: encoded(noise(mode="CMYK"), "JPEG"),
    "progressive.jpg": lambda: encoded(noise(), "JPEG", progressive=True),
    "16_bit.png": lambda: encoded(sixteen_bit(), "PNG"),
    "webp_in_truth.png": lambda: encoded(noise(), "WEBP"),
    "animated.gif": lambda: animated("GIF"),
    "1x1.png": lambda: encoded(noise(1, 1), "PNG"),
    "1x20000.png": lambda: encoded(noise(1, 20000), "PNG"),
    "20000x1.jpg": lambda: encoded(noise(20000, 1), "JPEG"),
    "über größe – 写真.png": lambda: encoded(noise(), "PNG"),
    f"{'long' * 60}.png": lambda: encoded(noise(), "PNG"),
    os.fsdecode(b"no\xff\xfeutf8.png"): lambda: encoded(noise(), "PNG"),
    "with\nline.png": lambda: encoded(noise(), "PNG"),
}
BAD = {
    "empty.png": lambda: b"",
    "text.jpg": lambda: b"<script>alert(1)</script>",
    "animated.webp": lambda: animated("WEBP"),
    "half.jpg": lambda: encoded(noise(200, 200), "JPEG")[:3000],
    "half.png": lambda: encoded(noise(200, 200), "PNG")[:3000],
    "bomb.png": lambda: bomb(20000, 20000),
    "headers_only.png": lambda: bomb(8, 1)[:33],
}


def fill(folder, files, kind):
    (folder / kind).mkdir(parents=True)
    for name, content in files.items():
        (folder / kind / name).write_bytes(content())


def load(folder, split="train", **flags):
    return datasets.load(config.build({"dataset": f"folder:{folder}", **flags}).data, split)


@pytest.mark.parametrize("in_memory", [True, False])
def test_hostile_images(tmp_path, monkeypatch, log, in_memory):
    """Good ones are decoded, bad ones named, and none takes memory for the size that it claims."""
    monkeypatch.setattr("tf_simclr.data.source.MEMORY_LIMIT", 2**30 if in_memory else 0)
    fill(tmp_path, GOOD, "train/a")
    fill(tmp_path, BAD, "train/b")
    fill(tmp_path, {"only.png": lambda: encoded(noise(), "PNG")}, "train/single")
    bad = tmp_path / "train" / "b"
    (bad / "loop.png").symlink_to("loop.png")
    (bad / "dangling.png").symlink_to("nothing.png")
    (bad / "circle").symlink_to(tmp_path / "train")
    (bad / "folder.png").mkdir()
    source = load(tmp_path)
    assert source.by_path != in_memory
    assert source.num_examples == len(GOOD) + 1
    assert source.class_names == ("a", "b", "single")
    assert "9 of 23 images can't be read" in log.text
    for name in (*BAD, "loop.png", "dangling.png"):
        assert f"train/b/{name}: " in log.text
    message = f"too many pixels, or none: of a JPEG at most {3 * 2**25}, else at most {2**25} are"
    assert f"bomb.png: the image has {message} accepted, got 400000000" in log.text
    images = source.ordered().map(lambda record, label: source.decode(record))
    decoded = dict(zip(source.example_names, images))
    assert decoded["train/a/1x20000.png"].shape == (20000, 1, 3)
    assert decoded["train/a/20000x1.jpg"].shape == (1, 20000, 3)
    assert source.fingerprint() == load(tmp_path).fingerprint()
    assert "".join(source.names_of(np.arange(source.num_examples))).encode()


def test_files_that_do_not_end(tmp_path):
    """Pipes, devices and files larger than any image are not read."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "device.tif").symlink_to("/dev/zero")
    with open(tmp_path / "slide.tif", "wb") as file:
        file.truncate(2**30 + 1)  # without taking room on the disk
    names = ("pipe.jpg", "device.tif", "slide.tif")
    problems = image_folder.problems_of([str(tmp_path / name) for name in names], "checking")
    assert problems[:2] == ["it is not a regular file"] * 2
    assert problems[2].startswith(f"it has {2**30 + 1} bytes, at most {2**30} are read")


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch, log):
    """Its images are left out, and it is named."""
    fill(tmp_path, {"1.png": GOOD["1x1.png"]}, "open")
    fill(tmp_path, {"1.png": GOOD["1x1.png"]}, "closed")
    scandir = os.scandir

    def refusing(path="."):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)  # root may read everything
    assert load(tmp_path).example_names == ("open/1.png",)
    assert "closed: its images are left out: Permission denied" in log.text


@pytest.fixture
def by_path(tmp_path, monkeypatch):
    """A folder of 24 images of two classes, too large to be kept in memory."""
    monkeypatch.setattr("tf_simclr.data.source.MEMORY_LIMIT", 0)
    files = {}
    for seed in range(12):
        files[f"{seed}.png"] = lambda seed=seed: encoded(noise(seed=seed), "PNG")
    for kind in ("a", "b"):
        fill(tmp_path / "images" / "train", files, kind)
    return tmp_path / "images"


LOST = ("train/a/3.png", "train/b/7.png")


def lose(folder):
    """One file goes, one is overwritten."""
    removed, overwritten = LOST
    (folder / removed).unlink()
    (folder / overwritten).write_bytes(b"no image any more")


def test_unreadable_images_are_replaced_by_others(by_path):
    part = mixture.BatchPart(load(by_path), 8, constants=np.arange(24.0)[:, None])
    assert replace_unreadable([part]) == ([part], [])
    lose(by_path)
    (replaced,), images = replace_unreadable([part])
    names = part.source.example_names
    is_lost = np.array([name in LOST for name in names])
    assert [name for name, _ in images] == [name for name in names if name in LOST]
    assert all(reason for _, reason in images)
    index = np.arange(24)
    index[is_lost] += 1
    expected_labels = np.where(is_lost, -1, part.source.labels)
    np.testing.assert_array_equal(replaced.source.labels, expected_labels)
    np.testing.assert_array_equal(replaced.source.records, part.source.records[index])
    np.testing.assert_array_equal(replaced.constants[:, 0], index)
    for path in by_path.rglob("*.png"):
        path.unlink()
    with pytest.raises(Failed, match=r"none of its 24 images can be read any more, e\.g\. train/"):
        replace_unreadable([part])


@pytest.fixture
def make_experiment(by_path, settings):
    data = {"dataset": f"folder:{by_path}", "eval_split": "train"}
    fast = {"train_steps": 12, "color_jitter_strength": 0}
    return lambda **flags: build_experiment(settings(**data, **fast, **flags))


def after_step(monkeypatch, number, act):
    """Does something once, after a step of the training.

    The machine seems to have two cores: one with many would have read all images by then.
    """
    monkeypatch.setattr(pipeline, "num_cores", lambda: 2)
    after = PeriodicWork.after

    def after_and_act(periodic_work, step, is_last):
        after(periodic_work, step, is_last)
        if step == number:
            act()

    monkeypatch.setattr(PeriodicWork, "after", after_and_act)


@pytest.mark.parametrize("mode", ["pretrain", "supervised"])
def test_images_that_vanish_while_training(
    make_experiment, by_path, eager, shallow, monkeypatch, log, mode
):
    """The training ends with the others, which come in the order they would have had."""
    after_step(monkeypatch, 2, lambda: lose(by_path))
    experiment = make_experiment(train_mode=mode)
    loop.fit(experiment)
    assert int(experiment.checkpoints.step) == 12
    messages = {record.getMessage() for record in log.records}
    (line,) = [message for message in messages if "stand in" in message]
    assert ": 2 images can't be read any more, others stand in for them without a label" in line
    assert all(np.isfinite(v.numpy()).all() for v in experiment.objective.variables)


def test_held_out_images_that_vanish(make_experiment, eager, shallow, monkeypatch, log):
    """The training ends without the validation."""
    experiment = make_experiment(
        train_mode="supervised", eval_every_epochs=1, holdout_fraction=0.25
    )
    after_step(monkeypatch, 1, lambda: os.unlink(experiment.data.held_out.records[0]))
    loop.fit(experiment)
    assert int(experiment.checkpoints.step) == 12
    message = "the validation is left out, some held-out images can't be read any more"
    assert message in log.text


def test_images_that_vanish_before_the_evaluation(
    main, by_path, eager, shallow, without_outputs, monkeypatch, tmp_path
):
    """One line; the same command ends with those that are there."""
    removed, _ = LOST
    after_step(monkeypatch, 2, lambda: (by_path / removed).exists() and lose(by_path))
    command = [
        f"--dataset=folder:{by_path}",
        "--eval_split=train",
        *TINY,
        *HERE,
        "--train_batch_size=8",
        "--mode=train_then_eval",
        "--train_steps=2",
        "--untrained_baseline=False",
        "--color_jitter_strength=0",
        f"--model_dir={tmp_path / 'run'}",
    ]
    status, stderr = main(*command)
    line = the_line(stderr)
    assert status == 1 and "3.png can't be read any more (" in line
    assert "run the same command again to resume" in line
    status, stderr = main(*command)
    assert status == 0 and "training is complete" in stderr
    assert "the run began with 24 images and there are 22 now" in stderr


def test_images_that_vanish_in_a_loop_of_steps(
    make_experiment, by_path, eager, shallow, monkeypatch
):
    after_step(monkeypatch, 1, lambda: lose(by_path))
    message = r"--steps_per_loop=.: one of the steps after .* had no batch; run the same command"
    with pytest.raises(Failed, match=message):
        loop.fit(make_experiment(train_mode="supervised", steps_per_loop=6))

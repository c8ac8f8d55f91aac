"""Images that are broken, hostile or gone: skipped, counted and named, also while training."""

import io
import os
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.helpers.processes import HERE, TINY, the_line
from tf_simclr import config
from tf_simclr.data import datasets, mixture
from tf_simclr.errors import Failed
from tf_simclr.training import loop
from tf_simclr.training.experiment import build_experiment


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(width=24, height=20, mode="RGB", seed=0):
    return Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    ).convert(mode)


def bomb(width, height):
    """A PNG of a few kB that would take gigabytes."""

    def chunk(name, data):
        return (
            len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
        )

    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(1 + width // 8)) for _ in range(height)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\1\0\0\0\0")
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )


GOOD = {
    "mislabelled.jpg": lambda: encoded(noise(), "PNG"),
    "cmyk.jpg": lambda: encoded(noise(mode="CMYK"), "JPEG"),
    "progressive.jpg": lambda: encoded(noise(), "JPEG", progressive=True),
    "16_bit.png": lambda: encoded(
        Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100), "PNG"
    ),
    "animated.gif": lambda: encoded(
        noise(mode="P"),
        "GIF",
        save_all=True,
        append_images=[noise(mode="P", seed=i) for i in range(3)],
    ),
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
    "webp.png": lambda: encoded(noise(), "WEBP"),
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
    monkeypatch.setattr(datasets, "MEMORY_LIMIT", 2**30 if in_memory else 0)
    fill(tmp_path, GOOD, "train/a")
    fill(tmp_path, BAD, "train/b")
    (tmp_path / "train" / "one").mkdir()
    (tmp_path / "train" / "one" / "only.png").write_bytes(encoded(noise(), "PNG"))
    (tmp_path / "train" / "b" / "loop.png").symlink_to("loop.png")
    (tmp_path / "train" / "b" / "dangling.png").symlink_to("nothing.png")
    (tmp_path / "train" / "b" / "circle").symlink_to(tmp_path / "train")
    (tmp_path / "train" / "b" / "folder.png").mkdir()
    source = load(tmp_path)
    assert (
        source.by_path != in_memory
        and source.num_examples == len(GOOD) + 1
        and source.class_names == ("a", "b", "one")
    )
    assert "9 of 22 images can't be read" in log.text
    for name in (*BAD, "loop.png", "dangling.png"):
        assert f"train/b/{name}: " in log.text
    assert (
        "bomb.png: the image has too many pixels, or none: at most 100000000 are accepted, got "
        "400000000" in log.text
    )
    decoded = dict(
        zip(source.example_names, source.ordered().map(lambda record, label: source.decode(record)))
    )
    assert decoded["train/a/1x20000.png"].shape == (20000, 1, 3) and decoded[
        "train/a/20000x1.jpg"
    ].shape == (1, 20000, 3)
    assert source.fingerprint() == load(tmp_path).fingerprint()
    assert "".join(source.names_of(np.arange(source.num_examples))).encode()


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
    monkeypatch.setattr(datasets, "MEMORY_LIMIT", 0)
    for kind in ("a", "b"):
        fill(
            tmp_path / "images" / "train",
            {f"{i}.png": lambda i=i: encoded(noise(seed=i), "PNG") for i in range(12)},
            kind,
        )
    return tmp_path / "images"


def lose(folder):
    """One file goes, one is overwritten."""
    (folder / "train" / "a" / "3.png").unlink()
    (folder / "train" / "b" / "7.png").write_bytes(b"no image any more")


def test_others_stand_in_for_images_that_are_gone(by_path):
    part = mixture.BatchPart(load(by_path), 8, constants=np.arange(24.0)[:, None])
    assert mixture.without_unreadable([part]) == ([part], [])
    lose(by_path)
    (found,), lost = mixture.without_unreadable([part])
    gone, index = (
        [name in ("train/a/3.png", "train/b/7.png") for name in part.source.example_names],
        np.arange(24),
    )
    assert [name for name, _ in lost] == [
        name for name, bad in zip(part.source.example_names, gone) if bad
    ] and all(reason for _, reason in lost)
    index[gone] += 1
    np.testing.assert_array_equal(found.source.labels, np.where(gone, -1, part.source.labels))
    np.testing.assert_array_equal(found.source.records, part.source.records[index])
    np.testing.assert_array_equal(found.constants[:, 0], index)
    for path in by_path.rglob("*.png"):
        path.unlink()
    with pytest.raises(Failed, match=r"none of its 24 images can be read any more, e\.g\. train/"):
        mixture.without_unreadable([part])


@pytest.fixture
def run_of(by_path, settings):
    return lambda **flags: build_experiment(
        settings(dataset=f"folder:{by_path}", eval_split="train", train_steps=12, **flags)
    )


def after_step(monkeypatch, number, act):
    """Does something once, after a step of the training."""
    after = loop.Keeper.after

    def and_then(keeper, step, last):
        after(keeper, step, last)
        if step == number:
            act()

    monkeypatch.setattr(loop.Keeper, "after", and_then)


@pytest.mark.parametrize("mode", ["pretrain", "supervised"])
def test_images_that_vanish_while_training(run_of, by_path, eager, shallow, monkeypatch, log, mode):
    """The training ends with the others, which come in the order they would have had."""
    after_step(monkeypatch, 2, lambda: lose(by_path))
    experiment = run_of(train_mode=mode)
    loop.fit(experiment)
    assert int(experiment.checkpoints.step) == 12
    (line,) = {record.getMessage() for record in log.records if "stand in" in record.getMessage()}
    assert (
        ": 2 images can't be read any more, others stand in for them without a label: train/"
        in line
    )
    assert all(np.isfinite(v.numpy()).all() for v in experiment.objective.variables)


def test_held_out_images_that_vanish(run_of, eager, shallow, monkeypatch, log):
    """The training goes on without looking at them."""
    experiment = run_of(train_mode="supervised", eval_every_epochs=1, holdout_fraction=0.25)
    after_step(monkeypatch, 1, lambda: os.unlink(experiment.data.held_out.records[0]))
    loop.fit(experiment)
    assert (
        int(experiment.checkpoints.step) == 12
        and "the look at held-out images is left out, some can't be read any more" in log.text
    )


def test_images_that_vanish_before_the_evaluation(main, by_path, shallow, monkeypatch, tmp_path):
    """One line; the same command goes on with those that are there."""
    after_step(
        monkeypatch, 2, lambda: (by_path / "train" / "a" / "3.png").exists() and lose(by_path)
    )
    command = [
        f"--dataset=folder:{by_path}",
        "--eval_split=train",
        *TINY,
        *HERE,
        "--train_batch_size=8",
        "--mode=train_then_eval",
        "--train_steps=2",
        "--untrained_baseline=False",
        f"--model_dir={tmp_path / 'run'}",
    ]
    status, stderr = main(*command)
    line = the_line(stderr)
    assert (
        status == 1
        and "3.png can't be read any more (" in line
        and "the same command goes on without it" in line
    )
    status, stderr = main(*command)
    assert (
        status == 0
        and "the run began with 24 images and there are 22 now" in stderr
        and "training is complete" in stderr
    )


def test_images_that_vanish_in_a_loop_of_steps(run_of, by_path, shallow, monkeypatch):
    after_step(monkeypatch, 1, lambda: lose(by_path))
    with pytest.raises(
        Failed,
        match=r"--steps_per_loop=.: one of the steps after .* had no batch",
    ):
        loop.fit(run_of(train_mode="supervised", steps_per_loop=6))

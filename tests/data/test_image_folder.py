"""Folders of images: formats, splits and classes, broken files, and what is refused."""

import errno
import os
import threading

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tf_simclr import config
from tf_simclr.data import cores, datasets, foreign_images, image_folder
from tf_simclr.errors import Failed, UserError

TOP, BOTTOM = (200, 40, 90), (30, 160, 220)


def two_colors(width=13, height=18):
    """Odd sizes, since BMP pads its rows."""
    image = Image.new("RGB", (width, height), TOP)
    image.paste(BOTTOM, (0, height // 2, width, height))
    return image


def fill(folder, *names):
    """Images below `folder`, each of its own colour."""
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 8), (i, 10, 20)).save(folder / name)


def load(folder, split="train", **flags):
    return datasets.load(config.build({"dataset": f"folder:{folder}", **flags}).data, split)


def labels_of(source):
    return dict(zip(source.example_names, (int(label) for label in source.labels)))


GREY = [round(0.299 * r + 0.587 * g + 0.114 * b) for r, g, b in (TOP, BOTTOM)]


@pytest.mark.parametrize(
    ("name", "mode", "tolerance"),
    [
        ("a.jpg", "RGB", 12),
        ("a.JPEG", "RGB", 12),
        ("a.JpG", "RGB", 12),
        ("a.png", "RGB", 0),
        ("a.PNG", "RGB", 0),
        ("a.bmp", "RGB", 0),
        ("a.png", "RGBA", 0),
        ("a.bmp", "RGBA", 0),
        ("a.png", "P", 0),
        ("a.gif", "P", 0),
        ("a.jpg", "CMYK", 8),
        ("a.jpg", "L", 8),
        ("a.png", "L", 0),
        ("a.bmp", "L", 0),
        ("a.png", "LA", 0),
        ("a.gif", "L", 0),
    ],
)
def test_formats(tmp_path, name, mode, tolerance):
    image = two_colors().quantize(4) if mode == "P" else two_colors().convert(mode)
    image.save(tmp_path / name)
    source = load(tmp_path)
    decoded = source.decode(tf.constant(source.records[0])).numpy()
    assert decoded.shape == (18, 13, 3) and decoded.dtype == np.uint8
    top, bottom = [[grey] * 3 for grey in GREY] if mode in ("L", "LA") else (TOP, BOTTOM)
    np.testing.assert_allclose(
        decoded[:6].astype(int), np.broadcast_to(top, (6, 13, 3)), atol=tolerance
    )
    np.testing.assert_allclose(
        decoded[12:].astype(int), np.broadcast_to(bottom, (6, 13, 3)), atol=tolerance
    )


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    frames = [Image.new("RGB", (6, 5), colour) for colour in (TOP, BOTTOM, (0, 0, 0))]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    source = load(tmp_path)
    np.testing.assert_array_equal(
        source.decode(tf.constant(source.records[0])), np.broadcast_to(TOP, (5, 6, 3))
    )


def test_decoding_inside_tf_data(tmp_path):
    for mode, name in (
        ("RGB", "a.jpg"),
        ("LA", "b.png"),
        ("RGBA", "c.png"),
        ("P", "d.gif"),
        ("L", "e.bmp"),
    ):
        two_colors().convert(mode).save(tmp_path / name)
    source = load(tmp_path)
    for image, path in zip(
        source.ordered().map(lambda record, label: source.decode(record)), source.records
    ):
        np.testing.assert_array_equal(image, source.decode(tf.constant(path)))


def test_class_folders(tmp_path):
    names = ("dog/1.png", "cat/1.jpg", "cat/deeper/2.png", "cat/notes.bmp")
    fill(tmp_path / "train", *names)
    (tmp_path / "train" / "cat" / "readme.txt").write_text("no image")
    (tmp_path / "train" / "empty").mkdir()
    source = load(tmp_path)
    assert (
        source.class_names == ("cat", "dog") and source.num_classes == 2 and source.num_labeled == 4
    )
    assert labels_of(source) == {
        "train/cat/1.jpg": 0,
        "train/cat/deeper/2.png": 0,
        "train/cat/notes.bmp": 0,
        "train/dog/1.png": 1,
    }


def test_a_flat_folder_has_no_labels(tmp_path):
    fill(tmp_path, "b.png", "a.png", "c.png")
    source, held_out = load(tmp_path), load(tmp_path, "validation")
    assert source.num_classes == source.num_labeled == 0 and source.num_examples == 2
    assert labels_of(source) | labels_of(held_out) == {"a.png": -1, "b.png": -1, "c.png": -1}


def test_loose_images_beside_class_folders_are_unlabeled(tmp_path):
    fill(tmp_path, "loose.png", "cat/1.png", "dog/1.png")
    source = load(tmp_path)
    assert labels_of(source) == {"cat/1.png": 0, "dog/1.png": 1, "loose.png": -1}
    assert labels_of(source.labeled()) == {"cat/1.png": 0, "dog/1.png": 1}


def test_hidden_files_and_folders_are_left_out(tmp_path):
    fill(tmp_path, "cat/1.png", ".thumbnails/1.png", "cat/.cache/1.png", "cat/._2.png")
    assert labels_of(load(tmp_path)) == {"cat/1.png": 0}


@pytest.mark.parametrize("file", ["flags.json", "recipe.yaml"])
def test_runs_inside_the_folder_are_left_out(tmp_path, log, file):
    """They are put there where the folder is the working directory; runs have images, too."""
    fill(tmp_path, "cat/1.png", "dog/1.png", "runs/a/report.png", "runs/a/deep/report.png")
    for run in (tmp_path / "runs" / "a", tmp_path):  # what the user names is no run to leave out
        (run / file).write_text("{}")
    for layout in ("auto", "simple"):
        assert labels_of(load(tmp_path, folder_layout=layout)) == {"cat/1.png": 0, "dog/1.png": 1}
    line = f"1 folder with flags.json or recipe.yaml, e.g. {tmp_path}/runs/a: skipped: they are"
    assert line in log.text


@pytest.mark.parametrize(
    ("train", "validation"), [("train", "val"), ("Train", "validation"), ("TRAIN", "Valid")]
)
def test_split_folders(tmp_path, train, validation):
    fill(
        tmp_path,
        f"{train}/cat/1.png",
        f"{train}/dog/1.png",
        f"{validation}/dog/2.png",
        "test/cat/3.png",
    )
    assert labels_of(load(tmp_path)) == {f"{train}/cat/1.png": 0, f"{train}/dog/1.png": 1}
    assert labels_of(load(tmp_path, "validation")) == {f"{validation}/dog/2.png": 1}
    assert labels_of(load(tmp_path, "test")) == {"test/cat/3.png": 0}
    assert load(tmp_path, "validation").class_names == ("cat", "dog")


def test_broken_files_are_named_and_skipped(tmp_path, log):
    fill(tmp_path, "cat/good.png", "dog/good.jpg")
    whole = (tmp_path / "dog" / "good.jpg").read_bytes()
    broken = {
        "cat/empty.png": b"",
        "cat/text.jpg": b"no image",
        "dog/half.jpg": whole[: len(whole) // 2],
        "dog/half.png": (tmp_path / "cat" / "good.png").read_bytes()[:40],
        "dog/zeros.gif": bytes(100),
    }
    for name, contents in broken.items():
        (tmp_path / name).write_bytes(contents)
    source = load(tmp_path)
    assert labels_of(source) == {"cat/good.png": 0, "dog/good.jpg": 1}
    assert "5 of 7 images can't be read" in log.text
    for name in broken:
        assert f"{name}: " in log.text
    assert "good" not in log.text and "function_node" not in log.text
    assert "dog/half.jpg: Invalid JPEG data, size" in log.text
    assert "dog/half.png: Invalid PNG" in log.text
    assert [int(label) for _, label in source.ordered()] == [0, 1]


def test_a_disk_that_does_not_work(tmp_path, monkeypatch):
    """It ends the run: its files are not broken. Words in the name of a file mean nothing."""
    fill(tmp_path, "Input/output error/a.png")
    path = str(tmp_path / "Input/output error/a.png")
    (problem,) = image_folder.problems_of([path + ".png"], "checking")
    assert "No such file" in problem

    def fail(path):
        raise OSError(errno.EIO, "Input/output error", path)

    monkeypatch.setattr(foreign_images, "usable_path", fail)
    message = r"Input/output error/a\.png: the disk does not work as it should \(.*error\)"
    with pytest.raises(Failed, match=message):
        image_folder.problems_of([path], "checking")


def test_a_file_that_is_removed_before_it_is_used(tmp_path):
    fill(tmp_path, "cat/1.png", "dog/1.png")
    data = config.build({"dataset": f"folder:{tmp_path}"}).data
    load_train = datasets.splits(data)["train"]
    for name in ("cat/1.png", "dog/1.png"):
        (tmp_path / name).unlink()
    with pytest.raises(Failed, match=r"^--dataset=folder:.*/1\.png is gone since its folder was"):
        load_train()


def test_files_are_read_by_several_threads(tmp_path, monkeypatch):
    fill(tmp_path, *[f"train/{i}.png" for i in range(8)])
    monkeypatch.setattr(cores, "num_cores", lambda: 2)
    both_read = threading.Barrier(2, timeout=60)
    read = datasets._read

    def read_together(path):
        both_read.wait()
        return read(path)

    monkeypatch.setattr(datasets, "_read", read_together)
    source = load(tmp_path)
    assert list(source.records) == [read(tmp_path / name) for name in source.example_names]


def test_all_files_broken(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"none of the 3 images can be read, e\.g\. 0\.png: "):
        load(tmp_path)


@pytest.mark.parametrize("train", ["train/cat/1.png", "train/1.png"])
def test_a_validation_class_unknown_to_train(tmp_path, train):
    fill(tmp_path, train, "val/cat/1.png", "val/zebra/1.png")
    with pytest.raises(UserError, match=r"of val is not a class of train .* --labels=none$"):
        load(tmp_path, "validation")
    assert load(tmp_path, "validation", labels="none").num_examples == 2


def test_no_such_folder(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        load(tmp_path / "nowhere")


def test_a_file_is_not_a_folder(tmp_path):
    fill(tmp_path, "a.png")
    with pytest.raises(UserError, match="it is not a folder"):
        load(tmp_path / "a.png")


@pytest.mark.parametrize("files", [[], ["notes.txt"], ["train/notes.txt"]])
def test_a_folder_without_images(tmp_path, files):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("no image")
    with pytest.raises(UserError, match="no image in"):
        load(tmp_path)


def test_a_split_that_is_not_there(tmp_path):
    fill(tmp_path, "train/1.png")
    with pytest.raises(UserError, match=r"has no such split as validation, only train, so there"):
        load(tmp_path, "validation")
    with pytest.raises(UserError, match=r"--eval_split=tset: .* has no such split, only train"):
        load(tmp_path, "tset")


@pytest.mark.parametrize("cached", [False, True])
def test_cached_or_not_the_images_are_the_same(tmp_path, cached):
    fill(tmp_path, "train/cat/0.png", "train/cat/1.png", "train/dog/2.png")
    source = load(tmp_path, cache_dataset=cached)
    if cached:
        for name in source.example_names:
            (tmp_path / name).unlink()  # nothing is read again
    red = [int(source.decode(record)[0, 0, 0]) for record, _ in source.ordered()]
    assert red == [0, 1, 2]


def test_bmp_with_a_color_palette_is_refused(tmp_path, rng):
    """TensorFlow would read its palette's indices as grey."""
    pixels = rng.integers(0, 255, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).quantize(16).save(tmp_path / "colour.bmp")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.bmp")
    assert image_folder.readable(str(tmp_path), ("colour.bmp", "grey.bmp")).tolist() == [1]


def test_labels_of_another_split_do_not_matter(tmp_path):
    """Unlabelled images to train on, beside a validation set with classes and an empty test set."""
    fill(tmp_path, "train/1.png", "train/2.png", "val/cat/1.png")
    (tmp_path / "test").mkdir()
    assert load(tmp_path, "train").labels.tolist() == [-1, -1]


def test_a_long_path_makes_no_others_longer(tmp_path, monkeypatch):
    monkeypatch.setattr("tf_simclr.data.source.MEMORY_LIMIT", 0)
    fill(tmp_path, "train/1.png", f"train/{'long' * 40}/2.png")
    source = load(tmp_path)
    assert source.by_path and source.records.nbytes == 2 * np.intp().nbytes
    assert [os.path.relpath(path, tmp_path) for path in source.records] == [*source.example_names]
    assert source.names_of(np.array([1])) == [source.example_names[1]]
    assert [source.decode(record).shape for record, _ in source.ordered()] == [(8, 9, 3)] * 2

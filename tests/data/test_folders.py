"""The user's folders as sources: what is said of them, what is held out, copies, the cache."""

import errno
import os
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from tests.data.test_image_folder import fill, labels_of, load
from tf_simclr import config
from tf_simclr.data import (
    copies,
    datasets,
    division,
    file_list,
    folder_messages,
    folders,
    holdout,
    image_folder,
    layout,
    scan_cache,
)
from tf_simclr.errors import Failed, UserError


@pytest.fixture
def lines(log):
    """A function: -> what was logged."""
    return lambda: [record.getMessage() for record in log.records]


def make_images(folder, *names):
    """Images of different contents; those of earlier calls stay."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = scan_cache.content_digest(name.encode())
        color = tuple(bytes.fromhex(digest[:6]))
        Image.new("RGB", (4, 3), color).save(path)


def sides(folder, moved=None, **flags):
    """{split: {image: label}}, and the sources."""
    data = config.build({"dataset": f"folder:{folder}", **flags}).data
    sources = {split: make() for split, make in datasets.splits(data, moved).items()}
    return {split: labels_of(source) for split, source in sources.items()}, sources


def test_the_layout_is_said_in_one_line(tmp_path, lines):
    names = [f"{year}/{i}.png" for year, n in (("2019", 3), ("2020", 2)) for i in range(n)]
    make_images(tmp_path, *names, "2020/05/9.png", "unsorted/1.png", "loose.png")
    (tmp_path / "labels.csv").write_text("file,label\n")
    load(tmp_path)
    text = "\n".join(lines())
    summary = "2 classes: 2019 (3), 2020 (3); 2 images without a label (each folder is a class; "
    assert f"folder:{tmp_path}: {summary}if not: --labels=none, or --labels=FILE.csv)" in text
    assert "1 image in folders inside a class folder, of the same class: 2020/05" in text
    assert "1 table of labels not used; --labels=labels.csv takes the labels of" in text


def test_the_columns_that_were_chosen_are_said(tmp_path, lines):
    make_images(tmp_path, "1.png", "2.png")
    table = "filepath,filename,species\n/gone/1.png,1.png,cat\n/gone/2.png,2.png,dog\n"
    (tmp_path / "labels.csv").write_text(table)
    load(tmp_path, labels="labels.csv")
    summary = "2 classes: cat (1), dog (1) (--labels=labels.csv:file=filename,label=species)"
    assert any(line.endswith(summary) for line in lines())


def test_what_no_split_uses_is_counted(tmp_path, lines):
    make_images(tmp_path, "train/a/1.png", "train/b/2.png", "val/a/3.png", "masks/4.png", "5.png")
    load(tmp_path)
    assert any("2 images in no split, and not used: 5.png (1), masks (1)" in s for s in lines())


def test_a_class_called_train(tmp_path):
    make_images(tmp_path, *[f"{name}/{i}.png" for name in ("bus", "car", "train") for i in "abcd"])
    splits, sources = sides(tmp_path)
    assert sources["train"].class_names == ("bus", "car", "train")
    assert sum(map(len, splits.values())) == 12


def test_classes_that_look_the_same():
    """Not as folders, of which not every file system keeps both."""
    names = ["Cat", "cat", "dog", *(unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))]
    classes = {f"{number}.png": name for number, name in enumerate(names)}
    (line,) = folder_messages.odd_classes({"train": classes})
    assert line.startswith("4 classes that differ in case, spaces or the encoding of accents alone")
    assert "dog" not in line and line.count("caf") == 2
    classes = {"0.png": "big cat", "1.png": "big  cat"}
    (line,) = folder_messages.odd_classes({"train": classes})
    assert line.startswith("2 classes that differ in case, spaces")


def test_one_class_and_no_labels(tmp_path, lines):
    make_images(tmp_path, "cat/1.png", "cat/2.png")
    load(tmp_path)
    assert any("1 class only, cat: pretraining works" in line for line in lines())
    source = load(tmp_path, labels="none")
    assert source.class_names == () and source.num_labeled == 0


def test_classes_whose_names_hardly_differ():
    splits = {"train": {str(i): name for i, name in enumerate(["cow", "Cow ", "ant"])}}
    (line,) = folder_messages.odd_classes(splits)
    assert line.startswith("2 classes that differ in case, spaces or the encoding of accents alone")
    assert line.endswith(": Cow , cow")
    splits = {"train": {str(i): f"{'cC'[i % 2]}ow {i // 2:02}" for i in range(40)}}
    (line,) = folder_messages.odd_classes(splits)
    assert line.startswith("40 classes") and line.endswith("Cow 08, Cow 09, ...")


def test_images_are_held_out_by_their_content(tmp_path):
    """Names, and other images that come and go, change nothing."""
    names = [f"{label}/{i}.png" for label in ("cat", "dog") for i in range(60)]
    make_images(tmp_path, *names)
    splits, sources = sides(tmp_path)
    counts = np.bincount(list(splits["validation"].values()))
    assert np.all((counts >= 2) & (counts <= 12))  # 6, and more than two standard deviations
    make_images(tmp_path, *[f"cat/new{i}.png" for i in range(20)])
    for name in names[::3]:
        (tmp_path / name).unlink()
    later, _ = sides(tmp_path, sources["train"].facts.moved)
    for split, labels in splits.items():
        others = set(later) - {split}
        assert not any(labels.keys() & later[other].keys() for other in others)


def test_at_least_one_of_each_class_is_held_out(tmp_path, lines):
    names = [f"class{label:02}/{i}.png" for label in range(12) for i in range(5)]
    make_images(tmp_path, *names, "single/1.png")
    splits, sources = sides(tmp_path)
    for split in ("train", "validation"):
        counts = np.bincount(list(splits[split].values()), minlength=12)
        assert np.all(counts[:12] >= 1)
    assert splits["train"]["single/1.png"] == 12
    text = "\n".join(lines())
    assert "of 61 images held out as split validation: class00 (" in text
    assert "1 class trained on and not evaluated" in text
    assert ": single" in text
    # What was held out for the sake of its class stays so, as the run has saved it.
    moved = sources["train"].facts.moved
    assert sum(moved.values()) >= 1
    make_images(tmp_path, *[f"class{label:02}/more{i}.png" for label in range(12) for i in "abc"])
    later, _ = sides(tmp_path, moved)
    assert splits["validation"].keys() <= later["validation"].keys()
    assert splits["train"].keys() <= later["train"].keys()


def test_held_out_images_without_a_label(tmp_path, lines):
    """A run has divided the images before they had labels."""
    make_images(tmp_path, *[f"{kind}/{i}.png" for kind in "ab" for i in range(3)])
    paths = sorted(tmp_path.glob("*/*.png"))
    moved = {scan_cache.content_digest(path.read_bytes()): False for path in paths}
    data = config.build({"dataset": f"folder:{tmp_path}"}).data
    with pytest.raises(UserError, match=r"or labels of .* --select_eval_count=20 asks"):
        datasets.load(data, "validation", moved=moved)
    moved[scan_cache.content_digest(paths[0].read_bytes())] = True
    datasets.load(data, "validation", moved=moved)
    text = "\n".join(lines())
    assert "1 class trained on and not evaluated, without a label of an image that an" in text
    assert "--mode=select --select_eval_count=20 asks for some: b" in text


@pytest.mark.parametrize("seed", range(5))
def test_divisions(seed):
    rng = np.random.default_rng(seed)
    digests = [scan_cache.content_digest(rng.bytes(8)) for _ in range(400)]
    classes = [f"{rng.integers(3)}" for _ in digests]
    divided = division.divide(digests, classes)
    assert not divided.moved and 20 <= divided.is_held_out.sum() <= 60
    lowest = [d for d, is_held_out in zip(digests, divided.is_held_out) if is_held_out]
    alone = division.divide(lowest, ["a"] * len(lowest))  # a class keeps most of its images
    assert alone.is_held_out.sum() == max(1, int(0.2 * len(lowest)))
    assert alone.is_held_out.sum() + len(alone.moved) == len(lowest)
    few = [digest for digest in digests if digest not in lowest][:5]
    mixed = division.divide(few + few[:1], ["a"] * 5 + [None])
    assert mixed.is_held_out.sum() in (1, 2) and len(mixed.moved) == 1
    assert not division.divide(few[:1], ["a"]).is_held_out.any()
    again = division.divide(few[1:], ["a"] * 4, mixed.moved)
    assert again.moved == mixed.moved


def test_copies_stay_together(tmp_path, lines):
    names = [f"cat/{i}.png" for i in range(30)]
    make_images(tmp_path, *names)
    for name in names:
        shutil.copy(tmp_path / name, tmp_path / f"cat/copy_{os.path.basename(name)}")
    (tmp_path / "dog").mkdir()
    shutil.copy(tmp_path / names[0], tmp_path / "dog" / "same.png")
    splits, _ = sides(tmp_path)
    for labels in splits.values():
        originals = {name.replace("copy_", "") for name in labels if name.startswith("cat/")}
        assert all(name in labels for name in originals)
    assert any("31 exact copies of other images" in line for line in lines())
    assert any("1 image in several classes" in line for line in lines())


def test_no_copy_of_what_is_held_out_while_training_is_trained_on(tmp_path):
    make_images(tmp_path / "train", *[f"cat/{i}.png" for i in range(20)])
    for i in range(20):
        shutil.copy(tmp_path / f"train/cat/{i}.png", tmp_path / f"train/cat/copy_{i}.png")
    make_images(tmp_path / "train", *[f"dog/{i}.png" for i in range(20)])
    rest, held_out, _ = holdout.split(load(tmp_path), 0.5, 0)
    assert held_out.num_examples >= 10 and copies.between(rest, held_out) == []


def test_linked_folders_are_followed_but_not_in_circles(tmp_path):
    images = tmp_path / "images" / "train"
    make_images(tmp_path / "elsewhere", "1.png", "deep/2.png")
    make_images(images, "cat/1.png")
    os.symlink(tmp_path / "elsewhere", images / "zebra")
    os.symlink(images, images / "cat" / "circle")
    os.symlink(images / "cat", tmp_path / "elsewhere" / "back")  # zebra/back/circle ends there
    names = set(labels_of(load(tmp_path / "images")))
    expected = {"cat/1.png", "zebra/1.png", "zebra/deep/2.png", "zebra/back/1.png"}
    assert names == {f"train/{name}" for name in expected}


def test_several_folders(tmp_path):
    make_images(tmp_path / "a" / "photos", "cat/1.png", "cat/2.png", "dog/1.png")
    make_images(tmp_path / "b" / "photos", "cow/1.png", "dog/1.png", "dog/2.png")
    dataset = f"folder:{tmp_path}/a/photos,folder:{tmp_path}/b/photos"
    data = config.build({"dataset": dataset}).data
    sources = [make() for make in datasets.splits(data).values()]
    names = [name for source in sources for name in source.example_names]
    assert sources[0].class_names == ("cat", "cow", "dog")
    assert len(names) == len(set(names)) == 6 and "b/photos/dog/2.png" in names
    with pytest.raises(UserError, match="given twice"):
        datasets.splits(config.build({"dataset": f"folder:{tmp_path},folder:{tmp_path}"}).data)


def test_a_list_of_files(tmp_path, lines):
    make_images(tmp_path, *[f"{label}/{i}.png" for label in ("cat", "dog") for i in range(4)])
    image_list = tmp_path / "list.txt"
    image_list.write_text("# mine\ncat/0.png\ndog/1.png\n\ncat/gone.png\ndog/2.png\n")
    splits, sources = sides(image_list)
    assert {*splits["train"], *splits["validation"]} == {"cat/0.png", "dog/1.png", "dog/2.png"}
    assert sources["train"].class_names == ("cat", "dog")
    assert any("1 of 4 lines of" in line and "cat/gone.png" in line for line in lines())
    image_list.write_text("cat/0.png big\ndog/1.png small\ndog/2.png, small\n")
    splits, sources = sides(image_list)
    assert sources["train"].class_names == ("big", "small")
    image_list.write_text("cat/0.png big\ndog/1.png small\ncat/0.png small\n")
    splits, sources = sides(image_list)
    assert sources["train"].class_names == ("small",)
    message = "1 image with different labels in it, which get none, e.g. cat/0.png (big and small)"
    assert any(f"{image_list}: {message}" in line for line in lines())
    image_list.write_text("nothing\n")
    with pytest.raises(UserError, match="none of its 1 lines is the path of an image"):
        load(image_list)


def test_a_list_in_another_encoding(tmp_path):
    """Its classes are read as those of tables; files have these bytes or these characters."""
    make_images(tmp_path, "wörter/0.png", "mögen.png", "mice/1.png")
    other_bytes = os.fsdecode("mögen.png".encode("latin-1"))
    os.rename(tmp_path / "mögen.png", tmp_path / other_bytes)
    image_list = tmp_path / "list.txt"
    text = "wörter/0.png Bär\nmögen.png Bär\nmice/1.png Igel\n"
    image_list.write_bytes(text.encode("latin-1"))
    content = file_list.read(str(image_list))
    assert content.labels == {"wörter/0.png": "Bär", other_bytes: "Bär", "mice/1.png": "Igel"}


def test_a_list_in_utf_16(tmp_path):
    """As Windows calls Unicode."""
    make_images(tmp_path, "wörter/0.png", "mice/1.png")
    image_list = tmp_path / "list.txt"
    image_list.write_bytes("wörter/0.png Bär\r\nmice/1.png Igel\r\n".encode("utf-16"))
    content = file_list.read(str(image_list))
    assert content.labels == {"wörter/0.png": "Bär", "mice/1.png": "Igel"}
    assert content.notes == ()


def test_unchanged_files_are_not_read_again(tmp_path, monkeypatch):
    names = [f"cat/{i}.png" for i in range(8)]
    make_images(tmp_path, *names)
    for name in names:
        os.utime(tmp_path / name, (10**9, 10**9))
    splits, _ = sides(tmp_path)
    image_folder._readable.cache_clear()
    folders._splits.cache_clear()
    checked, hashed = [], []
    digest = scan_cache._digest
    problems_of = image_folder.problems_of
    monkeypatch.setattr(scan_cache, "_digest", lambda path: hashed.append(path) or digest(path))
    monkeypatch.setattr(
        image_folder,
        "problems_of",
        lambda paths, *options: checked.extend(paths) or problems_of(paths, *options),
    )
    assert sides(tmp_path)[0] == splits
    assert checked == hashed == []
    (tmp_path / names[3]).write_bytes(b"no image any more")
    later, _ = sides(tmp_path)
    assert names[3] not in later["train"] | later["validation"]
    assert checked == [str(tmp_path / names[3])]


def test_an_interrupted_look_is_not_lost(tmp_path, monkeypatch):
    names = [f"{i}.png" for i in range(8)]
    make_images(tmp_path, *names)
    for name in names:
        os.utime(tmp_path / name, (10**9, 10**9))
    look = image_folder._look
    looked_at = []

    def interrupted(path):
        if path.endswith("5.png"):
            raise KeyboardInterrupt
        return look(path)

    monkeypatch.setattr(image_folder, "_look", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sides(tmp_path)
    monkeypatch.setattr(image_folder, "_look", lambda path: looked_at.append(path) or look(path))
    monkeypatch.delattr(scan_cache, "_digest")  # no file is read twice
    splits, _ = sides(tmp_path)
    assert sum(map(len, splits.values())) == 8
    assert sorted(looked_at) == [str(tmp_path / name) for name in names[5:]]


@pytest.mark.parametrize("split", ["", "train/"])
def test_a_folder_is_understood_again_where_it_has_changed(tmp_path, monkeypatch, split):
    """Files, their contents, the table of labels: stages of a process ask again and again."""
    make_images(tmp_path, *[f"{split}{i}.png" for i in range(8)])
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n" + "".join(f"{split}{i}.png,a\n" for i in range(8)))
    recognized = []
    recognize = layout.recognize
    monkeypatch.setattr(
        layout, "recognize", lambda names: recognized.append(names) or recognize(names)
    )

    def names(moved=None):
        splits, _ = sides(tmp_path, moved, labels="labels.csv")
        return {name: label for labels in splits.values() for name, label in labels.items()}

    first = names()
    assert names() == first and len(recognized) == 1
    names(moved={})  # another division
    assert len(recognized) == 2
    make_images(tmp_path, f"{split}new.png")
    assert f"{split}new.png" in names()
    (tmp_path / split / "3.png").write_bytes(b"no image any more")
    assert f"{split}3.png" not in names()
    os.remove(tmp_path / split / "new.png")
    assert names().keys() == first.keys() - {f"{split}3.png"}
    table.write_text(table.read_text() + f"{split}7.png,b\n")
    assert names()[f"{split}7.png"] == -1  # two classes


@pytest.mark.parametrize("folder", ["", "train/", "train/cat/"])
def test_files_that_vanish_while_the_folder_is_read(tmp_path, monkeypatch, lines, folder):
    """After they were looked at."""
    names = [f"{folder}{i}.png" for i in range(8)]
    make_images(tmp_path, *names)
    digest = scan_cache._digest

    def vanishing(path):
        if path.endswith("3.png"):
            os.remove(path)
        return digest(path)

    monkeypatch.setattr(scan_cache, "_digest", vanishing)
    splits, _ = sides(tmp_path)
    assert {name for labels in splits.values() for name in labels} == {*names} - {names[3]}
    assert f"1 image skipped: gone while the folder was read, e.g. {names[3]}" in lines()


def test_too_many_open_files_are_no_files_that_are_gone(tmp_path, monkeypatch):
    make_images(tmp_path, "cat/1.png", "dog/1.png")

    def fail(path, mode):
        raise OSError(errno.EMFILE, "Too many open files", path)

    monkeypatch.setattr(scan_cache, "open", fail, raising=False)
    paths = [str(tmp_path / name) for name in ("cat/1.png", "dog/1.png")]
    with pytest.raises(Failed, match="the disk does not work as it should"):
        scan_cache.digests(str(tmp_path), paths)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"version": 2, "files": 3}', "{"])
def test_a_damaged_cache_is_made_again(tmp_path, content):
    make_images(tmp_path, "cat/1.png", "cat/2.png")
    path = scan_cache._file_of(str(tmp_path))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    image_folder._readable.cache_clear()
    assert sum(map(len, sides(tmp_path)[0].values())) == 2


def test_runs_made_before_keep_their_layout_and_division(tmp_path):
    fill(tmp_path, *[f"{name}/{i}.png" for name in ("cat", "unsorted") for i in range(20)])
    splits, sources = sides(tmp_path, folder_layout="simple")
    assert sources["train"].class_names == ("cat", "unsorted")
    order = np.random.default_rng(0).permutation(20)[:2]
    files = sorted(f"cat/{i}.png" for i in range(20))
    expected = {files[i] for i in order}
    assert {name for name in splits["validation"] if name.startswith("cat")} == expected
    assert config.fields()["folder_layout"].before == "simple"


def test_runs_made_before_without_labels(tmp_path):
    """A class of another split that train does not have is none then; the division stays."""
    make_images(tmp_path, "train/cat/1.png", "val/cat/2.png", "val/fox/3.png")
    with pytest.raises(UserError, match="the class 'fox' of val is not a class of train"):
        sides(tmp_path, folder_layout="simple")
    splits, sources = sides(tmp_path, folder_layout="simple", labels="none")
    assert set(splits["validation"]) == {"val/cat/2.png", "val/fox/3.png"}
    assert sources["validation"].num_labeled == 0 and sources["train"].class_names == ()


def test_other_names_of_a_split(tmp_path):
    make_images(tmp_path, "train/cat/1.png", "valid/cat/2.png")
    for split in ("val", "valid", "validation"):
        assert labels_of(load(tmp_path, split)) == {"valid/cat/2.png": 0}
    with pytest.raises(UserError, match=r"--eval_split=test: .* has no such split"):
        load(tmp_path, "test")

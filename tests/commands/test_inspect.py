"""What is wrong with a folder of images: the table, the page, the section of the report."""

import csv
import dataclasses
import types

import numpy as np
import pytest
import tensorflow as tf
from etils import epath
from PIL import Image
from scipy import ndimage

from tests.helpers import report_runs
from tf_simclr.commands import image_issues, inspect, leaks, training_copies
from tf_simclr.commands.image_issues import Issue
from tf_simclr.commands.image_set import compute_image_set
from tf_simclr.curation import near_copies, neighbors
from tf_simclr.data import datasets
from tf_simclr.errors import UserError
from tf_simclr.evaluation.network_features import EvaluationData, NetworkFeatures
from tf_simclr.report import image_bits, inspection, schema
from tf_simclr.report.evaluated import ENCODER_OUTPUT

HOSTILE = '<script>alert(1)<,"ä".png'


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.fixture
def flawed(tmp_path, rng):
    """A folder with splits and classes, some of whose images have something wrong."""
    noise = ndimage.gaussian_filter(rng.normal(size=(19, 32, 32, 3)), (0, 2, 2, 0))
    pixels = np.uint8(np.clip(128 + 50 * noise / noise.std(), 0, 255))
    images = list(map(Image.fromarray, pixels))
    folder = tmp_path / "flawed"
    for number in range(6):
        save(folder / "train" / "cat" / f"{number}.png", images[number])
        save(folder / "train" / "dog" / f"{number}.png", images[6 + number])
    for number in range(3):
        save(folder / "test" / "cat" / f"{number}.png", images[12 + number])
        save(folder / "test" / "dog" / f"{number}.png", images[15 + number])
    save(folder / "test" / "cat" / "leak.png", images[0])
    save(folder / "test" / "dog" / "other class.png", images[1])
    save(folder / "train" / "dog" / HOSTILE, images[7])
    brighter = Image.fromarray(np.uint8(pixels[8] * 0.8))
    save(folder / "train" / "dog" / "darker.jpg", brighter)
    save(folder / "train" / "cat" / "black.png", Image.new("RGB", (32, 32)))
    save(folder / "train" / "cat" / "large.png", images[18].resize((160, 160)))
    (folder / "train" / "cat" / "broken.png").write_bytes(b"nothing")
    return folder


class PixelExtractor:
    """In the place of `Extractor`, without a network: features are reduced pixels."""

    def __init__(self, settings, alone):
        self.data = settings.data
        self.model = types.SimpleNamespace(class_names=())
        self.strategy = tf.distribute.get_strategy()
        self.splits = list(datasets.splits(settings.data))
        if settings.embed.embed_split:
            self.splits = [settings.embed.embed_split]

    def load(self, split, flag=None):
        return datasets.load(self.data, split, flag)

    def compute(self, source, work):
        images = [source.decode(record).numpy() for record in source.records]
        reduced = [Image.fromarray(image).resize((6, 6)) for image in images]
        features = np.stack(reduced).reshape(len(images), -1).astype(np.float32)
        return {"label": source.labels, ENCODER_OUTPUT: 1 + features}


@pytest.fixture
def pixels(monkeypatch):
    """Inspections are by pixels."""
    monkeypatch.setattr(inspect, "build_extractor", PixelExtractor)


def run(settings, folder, **flags):
    """Inspects, and returns the rows of the table: {issue: [row]}."""
    flags = {"eval_split": "test", "dataset": f"folder:{folder}", **flags}
    options = settings(**flags)
    inspect.inspect(options)
    output = options.inspect.inspect_output or f"{options.train.model_dir}/issues.csv"
    by_issue = {}
    with open(output, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            by_issue.setdefault(row["issue"], []).append(row)
    return by_issue


def test_each_issue_is_named(settings, model, flawed, tmp_path, log):
    issues = run(settings, flawed, checkpoint=model(2))
    leaks_of = {row["file"]: row for row in issues["leak"]}
    assert set(leaks_of) == {"test/cat/leak.png", "test/dog/other class.png"}
    same, other = leaks_of["test/cat/leak.png"], leaks_of["test/dog/other class.png"]
    assert same["other_file"] == "train/cat/0.png" and same["split"] == "test"
    assert float(same["score"]) == 1 and same["suggestion"] == "remove it here or in train"
    assert other["suggestion"] == "decide which it is: dog here, cat there"
    (exact,) = issues["exact_copy"]
    assert {exact["file"], exact["other_file"]} == {"train/dog/1.png", f"train/dog/{HOSTILE}"}
    (near,) = issues["near_copy"]
    assert {near["file"], near["other_file"]} == {"train/dog/2.png", "train/dog/darker.jpg"}
    assert 0.8 < float(near["score"]) < 1
    assert [row["file"] for row in issues["dark"]] == ["train/cat/black.png"]
    assert [row["file"] for row in issues["blank"]] == ["train/cat/black.png"]
    assert [row["file"] for row in issues["odd_size"]] == ["train/cat/large.png"]
    (broken,) = issues["broken"]
    assert broken["file"] == "train/cat/broken.png" and broken["split"] == ""
    document = inspection.read(epath.Path(tmp_path / "run"))
    cells = " ".join(inspection.table(document).split())
    assert "| copies across the splits | 2 | 8.3% | test/cat/leak.png" in cells
    assert "2 of 8 images that are evaluated are copies" in log.text
    page = (tmp_path / "run" / "inspection.html").read_text(encoding="utf-8")
    assert "<script>" not in page and "&lt;script&gt;alert(1)&lt;" in page
    assert page.count('<img src="data:image/png;base64,') >= 9
    assert "http" not in page.replace("http-equiv", "")


def image_set(splits):
    """Images without labels of some splits."""
    labels = np.full(len(splits), -1)
    return types.SimpleNamespace(splits=np.array(splits), labels=labels, class_names=())


@pytest.mark.parametrize("splits", [["train", "test", "test"], ["test", "test", "train"]])
def test_every_copy_across_the_splits_is_a_leak(splits, monkeypatch):
    """Also where a copy in its own split is more like it, or comes first."""
    images = image_set(splits)
    train, *test = sorted(range(3), key=lambda position: splits[position] == "test")
    contents = np.array(["same"] * 3)
    pictures = types.SimpleNamespace(contents=contents, can_be_compared=False)
    by_pixels = image_issues._copies(images, pictures)
    pairs = near_copies.Pairs(
        np.array([test[0], min(train, test[0]), min(train, test[1])]),
        np.array([test[1], max(train, test[0]), max(train, test[1])]),
        np.array([0.99, 0.9, 0.8], np.float32),
    )
    monkeypatch.setattr(near_copies, "find", lambda *arguments: pairs)
    images.features = None
    different = np.array(["a", "b", "c"])
    pictures = types.SimpleNamespace(contents=different, can_be_compared=True, thumbnails=contents)
    for issues in (by_pixels, image_issues._copies(images, pictures)):
        leaked = [leaks._in_split(images, issue, "test", "train") for issue in issues["leak"]]
        assert sorted(leaked) == test


@pytest.mark.usefixtures("pixels")
def test_a_second_time_and_elsewhere(settings, flawed, tmp_path):
    output = tmp_path / "tables" / "x.csv"
    first = run(settings, flawed)
    assert run(settings, flawed, inspect_output=str(output)) == first
    split = run(settings, flawed, embed_split="test")
    assert not {"leak", "broken", "exact_copy"} & set(split)


@pytest.mark.usefixtures("pixels")
def test_the_report_of_the_run_has_a_section(settings, flawed, tmp_path):
    report_runs.write(tmp_path / "run", report_runs.document(), events=False)
    run(settings, flawed)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert 'id="images"' in page and "Copies across the splits" in page
    assert not (tmp_path / "run" / "inspection.html").exists()


@pytest.mark.usefixtures("pixels")
def test_without_labels_and_with_little_to_compare(settings, tmp_path, rng):
    """A folder of two tiny images: no copies are looked for, nothing is wrong."""
    for number in range(2):
        pixels = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        save(tmp_path / "two" / f"{number}.png", Image.fromarray(pixels))
    assert run(settings, tmp_path / "two") == {}
    assert "Nothing is wrong" in (tmp_path / "run" / "inspection.html").read_text()


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": "x"}', '{"issues": [3]}'])
def test_a_damaged_inspection(settings, tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "inspection.json").write_text(content)
    with pytest.raises(UserError, match=r"inspection\.json: .*; remove it"):
        inspect.inspect(settings())


def test_wrong_output(settings):
    with pytest.raises(UserError, match=r"--inspect_output=x.txt: accepted .* \.csv"):
        inspect.inspect(settings(inspect_output="x.txt"))


def test_no_other_table_is_replaced(settings, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\na.png,cat\n")
    with pytest.raises(UserError, match=r"--inspect_output=.*labels\.csv: this file exists and is"):
        inspect.inspect(settings(inspect_output=str(labels)))
    assert labels.read_text() == "file,label\na.png,cat\n"


def images_of(options):
    """(extractor, images) of a configuration, by pixels."""
    extractor = PixelExtractor(options, True)
    sources = [extractor.load(split) for split in extractor.splits]
    return extractor, compute_image_set(extractor, sources, "test")


def test_features_that_are_not_finite(settings, photos):
    _, images = images_of(settings(dataset=f"folder:{photos}"))
    images.features[2, 0] = np.nan
    with pytest.raises(UserError, match="1 of 13 images are not finite"):
        image_issues.find(images, image_issues.look_at(images))


def test_neighbors_are_looked_for_once(settings, flawed, monkeypatch):
    """Outliers, near-copies and overlapping classes are all of the same ones."""
    _, images = images_of(settings(dataset=f"folder:{flawed}"))
    pictures = image_issues.look_at(images)
    expected = near_copies.find(images.features, pictures.thumbnails.__getitem__)
    searches = []

    def nearest_others(unit, count):
        searches.append(count)
        return original(unit, count)

    original = neighbors.nearest_others
    monkeypatch.setattr(neighbors, "nearest_others", nearest_others)
    issues = image_issues.find(images, pictures)
    assert searches == [10]
    _, nearest = original(neighbors.unit_features(images.features), near_copies.NUM_CANDIDATES)
    given = near_copies.find(images.features, pictures.thumbnails.__getitem__, nearest)
    assert len(expected) and given.as_tuples() == expected.as_tuples()
    assert len(issues["near_copy"]) + len(issues["leak"]) > 0


def test_accuracy_without_the_leaks(settings, flawed):
    """Of eight evaluated images one leaks; the other pair is of the same split."""
    options = settings(eval_split="test", dataset=f"folder:{flawed}", knn_k=1)
    extractor, images = images_of(options)
    names = images.names.tolist()
    copies = [("test/cat/leak.png", "train/cat/0.png"), ("test/dog/1.png", "test/dog/2.png")]
    issues = [Issue(names.index(file), 1.0, "", other=names.index(other)) for file, other in copies]
    is_train = images.splits == "train"
    unit = images.features / np.linalg.norm(images.features, axis=1, keepdims=True)
    nearest = images.labels[is_train][np.argmax(unit[~is_train] @ unit[is_train].T, 1)]
    by_neighbor = nearest == images.labels[~is_train]
    by_classifier = images.labels[~is_train] == 1
    logits = np.tile(np.float32([0, 1]), (len(images), 1))
    extractor.model.class_names = images.class_names
    effects = leaks.effects_of(
        dataclasses.replace(images, logits=logits), issues, extractor, options
    )
    is_leaked = images.names[~is_train] == "test/cat/leak.png"
    for effect, name, correct in zip(
        effects, ("classifier", "k-NN"), (by_classifier, by_neighbor), strict=True
    ):
        assert (effect["by"], effect["leaked"], effect["evaluated"]) == (name, 1, 8)
        assert effect["with"] == pytest.approx(correct.mean())
        assert effect["without"] == pytest.approx(correct[~is_leaked].mean())
        assert f"{name} {correct.mean():.1%} with them" in leaks.in_words(effects)
    extractor.model.class_names = ("other", "names")
    (effect,) = leaks.effects_of(
        dataclasses.replace(images, logits=logits), issues, extractor, options
    )
    assert effect["by"] == "k-NN"
    assert leaks.effects_of(images, [], extractor, options) == []


def examples_of(settings, folder, split):
    """(source, its features by pixels)."""
    extractor = PixelExtractor(settings(dataset=f"folder:{folder}", eval_split="test"), True)
    source = extractor.load(split)
    arrays = extractor.compute(source, "test")
    features = {"final_avg_pool": arrays[ENCODER_OUTPUT], "label": arrays["label"]}
    return source, {**features, "position": np.arange(source.num_examples)}


def test_copies_of_training_images_after_an_evaluation(settings, flawed, photos, log, monkeypatch):
    train, train_features = examples_of(settings, flawed, "train")
    test, test_features = examples_of(settings, flawed, "test")
    data = EvaluationData(train, test)
    counts = training_copies.find(data, NetworkFeatures(train_features, test_features, None))
    which = counts["training_copies"]["which"]
    numbers = {"images": 2, "evaluated": 8, "compared": 16, "skipped": 0}
    assert counts == {"training_copies": {**numbers, "which": which}}
    assert image_bits.unpack(which).sum() == 2
    assert "2 images of 8 evaluated are near-copies of training images" in log.text
    kinds = schema.KINDS["training_copies?"]
    assert {name.rstrip("?") for name in kinds} == counts["training_copies"].keys()
    assert "at least" not in log.text
    monkeypatch.setattr(training_copies, "MAX_COMPARED", 8)  # the nearest of each image
    fewer = training_copies.find(data, NetworkFeatures(train_features, test_features, None))
    assert fewer["training_copies"] == {**counts["training_copies"], "skipped": 8 * 10 - 8}
    assert "at least 2 images of 8 evaluated are near-copies" in log.text
    # The training images themselves, none at all, and images that are too small:
    same = EvaluationData(train, train)
    assert not training_copies.find(same, NetworkFeatures(train_features, train_features, None))
    assert not training_copies.find(data, NetworkFeatures(None, test_features, None))
    small, small_features = examples_of(settings, photos, "validation")
    tiny = NetworkFeatures(train_features, small_features, None)
    assert not training_copies.find(EvaluationData(train, small), tiny)

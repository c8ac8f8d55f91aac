"""Tables of predictions: from runs, exports and in Python, interrupted, of hostile files."""

import csv
import dataclasses
import json
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf
from absl import flags as absl_flags
from etils import epath
from PIL import Image

import run
import tf_simclr
from tests.helpers.configurations import TINY
from tests.helpers.eager import eagerly
from tf_simclr.commands import export, predict, prediction_file
from tf_simclr.commands.image_set import Extractor
from tf_simclr.data import crop_check, datasets
from tf_simclr.data.streamed_source import Streamed
from tf_simclr.errors import Interrupted, UserError
from tf_simclr.evaluation import calibration as fitting
from tf_simclr.evaluation import features
from tf_simclr.models import resnet
from tf_simclr.runs import calibration

pytestmark = pytest.mark.usefixtures("shallow")
NUM_PHOTOS = 24
STEP = 3
TRAINING = [
    "--mode=train_then_eval",
    "--train_mode=supervised",
    "--evaluations=classifier",
    "--untrained_baseline=False",
    "--eval_batch_size=64",
    *(f"--{name}={value}" for name, value in TINY.items()),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A short run, whose calibration is that of one that knows more."""
    directory = tmp_path_factory.mktemp("runs") / "finished"
    with eagerly(), pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.FAMILY, 18, (resnet.FAMILY[18][0], (1,)))
        patch.setattr(absl_flags, "FLAGS", absl_flags.FlagValues())
        assert run.main(["run.py", *TRAINING, f"--model_dir={directory}"]) == 0
    return directory


@pytest.fixture(scope="module")
def thresholded(finished, tmp_path_factory):
    """A copy of the run that takes half of its predictions for sure."""
    directory = tmp_path_factory.mktemp("thresholded") / "run"
    shutil.copytree(finished, directory)
    saved = calibration.read(epath.Path(directory))
    threshold = float(np.median(saved.confidence))
    known = dataclasses.replace(saved, threshold=threshold)
    for folder in (directory, directory / "saved_model" / str(STEP) / "assets"):
        calibration.write(epath.Path(folder), known)
    return directory


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of digits as files, with odd names."""
    folder = tmp_path_factory.mktemp("photos")
    images = datasets.digits(None)["test"]().records
    names = ['a "quoted", one.png', "zwei\nZeilen.png", "ä<b>.png"]
    names += [f"{number:03}.png" for number in range(NUM_PHOTOS - len(names))]
    for name, image in zip(names, images):
        Image.fromarray(np.asarray(image)).save(folder / name)
    return folder


@pytest.fixture
def predicted(settings, tmp_path):
    """A function: weights, photos, flags -> the rows of the table as dicts."""

    def call(path, photos, **flags):
        output = tmp_path / "out" / "table.csv"
        options = {"dataset": f"folder:{photos}", "eval_batch_size": 4, **flags}
        predict.predict(settings(checkpoint=str(path), predict_output=str(output), **options))
        with open(output, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    return call


def test_an_evaluation_calibrates(finished):
    """Its metric, files and card; and which labels it was."""
    saved = calibration.of_weights(epath.Path(finished), STEP)
    assert saved.labels_of == "360 labels, split test" and saved.num_labels == 360
    assert saved.temperature > 0 and len(saved.reference) == fitting.MAX_REFERENCE
    result = json.loads((finished / "result.json").read_text())
    assert 0 <= result["eval/calibrated_calibration_error"] <= 1
    page = (finished / "report.html").read_text()
    assert "calibration error, calibrated" in page and "perfectly calibrated, about" in page
    details = json.loads((finished / "results.json").read_text())["details"]["trained"]
    assert 0 < details["classifier"]["calibrated_calibration_error_by_chance"] < 0.2
    assets = finished / "saved_model" / str(STEP) / "assets"
    assert calibration.read(epath.Path(assets)).fingerprint == saved.fingerprint
    assert "Calibrated on 360 labels, split test" in (assets / "model_card.md").read_text()


def test_weights_exported_elsewhere_stay_calibrated(thresholded, settings, tmp_path, log):
    options = settings(mode="export", checkpoint=str(thresholded), model_dir=str(tmp_path / "new"))
    export.export_run(options)
    assert "left out" not in log.text
    (module,) = (tmp_path / "new" / "saved_model").iterdir()
    calibrated = calibration.read(epath.Path(thresholded))
    assert calibration.read(epath.Path(module / "assets")).fingerprint == calibrated.fingerprint
    card = (module / "assets" / "model_card.md").read_text()
    assert "| classifier, top 1 " in card and f", {STEP} steps, on digits" in card


def test_at_another_size_nothing_is_calibrated(thresholded, settings, tmp_path, log):
    """What was measured at the size of the training does not hold at another one."""
    run, new = str(thresholded), tmp_path / "new"
    export.export_run(settings(mode="export", image_size=24, checkpoint=run, model_dir=str(new)))
    assert "metrics and calibration, which were measured with the former, are left out" in log.text
    (module,) = (new / "saved_model").iterdir()
    assert calibration.read(epath.Path(module / "assets")) is None
    card = (module / "assets" / "model_card.md").read_text()
    assert "classifier, top 1" not in card and f", {STEP} steps, on digits" in card
    for path in (thresholded, thresholded / "saved_model" / str(STEP)):
        assert tf_simclr.load(path, image_size=24).calibration is None


def test_run_export_and_python_say_the_same(thresholded, photos, predicted):
    table = predicted(thresholded, photos, predict_top_k=4)
    assert {row["file"] for row in table} == {path.name for path in photos.iterdir()}
    assert predicted(thresholded / "saved_model" / str(STEP), photos, predict_top_k=4) == table
    model = tf_simclr.load(thresholded)
    images = [photos / row["file"] for row in table]
    probabilities = model.calibration.probabilities(model.endpoints(images)["logits_sup"])
    embedding = model.embed(images)
    for index, (row, answer) in enumerate(zip(table, model.classify(images))):
        order = np.argsort(-probabilities[index])
        names = [model.class_names[label] for label in order[:4]]
        assert [row[name] for name in ("class", "second", "class_3", "class_4")] == names
        assert (answer.class_name, answer.second) == (row["class"], row["second"])
        first, second, third = probabilities[index][order[:3]]
        assert float(row["probability"]) == pytest.approx(first, abs=2e-6)
        assert answer.probability == pytest.approx(first, abs=2e-6)
        assert float(row["probability_3"]) == pytest.approx(third, abs=2e-6)
        assert float(row["margin"]) == pytest.approx(first - second, abs=2e-6)
        assert row["unsure"] == str(answer.unsure).lower()
        assert answer.unsure == (first < model.calibration.threshold)
    novelty = [float(row["novelty"]) for row in table]
    np.testing.assert_allclose(novelty, model.calibration.novelty(embedding), atol=1e-3)
    assert len({row["unsure"] for row in table}) == 2


def stop_after(monkeypatch, count, error):
    """Breaks off after some batches."""
    mapper = features.batch_mapper

    def broken(*arguments):
        whole = mapper(*arguments)

        def apply(source):
            for number, outputs in enumerate(whole(source)):
                if number == count:
                    raise error
                yield outputs

        return apply

    monkeypatch.setattr(features, "batch_mapper", broken)


def test_resumed_after_an_interrupt(thresholded, photos, predicted, tmp_path, monkeypatch, log):
    """It says how to go on, and the table is that of a run which was not interrupted."""
    monkeypatch.setattr(prediction_file, "ROWS_BETWEEN_SAVES", 4)
    with monkeypatch.context() as patch:
        stop_after(patch, 3, KeyboardInterrupt())
        with pytest.raises(Interrupted, match="12 of 24 images are predicted, run the same"):
            predicted(thresholded, photos)
    assert [path.suffix for path in sorted((tmp_path / "out").iterdir())] == [".partial", ".json"]
    table = predicted(thresholded, photos)
    assert "goes on after 12 images" in log.text
    assert "24 images: " in log.text and " unsure; " in log.text
    assert (
        "all 24 images are used, whatever their split (train, validation); --embed_split"
        in log.text
    )
    model = tf_simclr.load(thresholded)
    images = [photos / row["file"] for row in table]
    assert [answer.class_name for answer in model.classify(images)] == [
        row["class"] for row in table
    ]
    assert {row["file"] for row in table} == {path.name for path in photos.iterdir()}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["table.csv"]


def test_hostile_files(thresholded, photos, predicted, monkeypatch, tmp_path, log):
    """Those that can't be read are counted and named, also where they break on the way."""
    folder = shutil.copytree(photos, tmp_path / "hostile")
    (folder / "cut.png").write_bytes((folder / "005.png").read_bytes()[:40])
    (folder / "text.jpg").write_text("no image")
    (folder / "empty.png").write_bytes(b"")
    load = predict.build_extractor

    def build(*arguments):
        extractor = load(*arguments)

        def batches(source):
            (folder / "018.png").write_bytes(b"gone")
            yield from extractor.batches(source)

        return dataclasses.replace(extractor, batches=batches)

    monkeypatch.setattr(predict, "build_extractor", build)
    # Files are read when they are needed.
    monkeypatch.setattr("tf_simclr.data.source.MEMORY_LIMIT", 0)
    table = predicted(thresholded, folder, eval_batch_size=1)
    good = {path.name for path in photos.iterdir()} - {"018.png"}
    assert sorted(row["file"] for row in table) == sorted(good)
    assert "3 of 27 images can't be read" in log.text and "cut.png" in log.text
    assert "1 of the images that are left can't be read any more" in log.text
    assert "e.g. 018.png" in log.text


def test_classes_that_train_does_not_have(settings, photos, tmp_path, monkeypatch):
    """No label is needed; the splits stay those of the folders."""
    folder = tmp_path / "divided"
    for name in ("train/cat/005.png", "test/cat/006.png", "test/zebra/007.png"):
        (folder / name).parent.mkdir(parents=True)
        shutil.copy(photos / name.split("/")[-1], folder / name)
    monkeypatch.setattr(crop_check, "warn_of_cropping", lambda *arguments: None)
    unused = dict.fromkeys(("strategy", "run_directories", "moved", "compute", "batches"))
    model = types.SimpleNamespace(settings=types.SimpleNamespace(preprocessing=None))
    data = settings(dataset=f"folder:{folder}").data
    extractor = Extractor(model=model, data=data, split="", **unused)
    images = {source.split: list(source.names()) for source in predict._load(extractor)}
    assert images == {
        "train": ["train/cat/005.png"],
        "test": ["test/cat/006.png", "test/zebra/007.png"],
    }


def streamed(source):
    """The same examples as a stream."""
    keys = tf.data.Dataset.from_tensor_slices([name.encode() for name in source.names()])

    def read(context):
        elements = tf.data.Dataset.zip(source.ordered(), keys)
        return elements.map(lambda element, key: (key, *element))

    about = (source.name, source.split, source.class_names, source.open)
    return Streamed(*about, read, source.num_examples, source.num_labeled)


def test_a_source_goes_on_where_it_was():
    """In memory and as a stream, in the same order."""
    source = datasets.digits(None)["test"]().take(np.arange(10))
    labels = [int(label) for _, label in source.ordered()]
    for each in (source, streamed(source)):
        assert list(each.names()) == [str(number) for number in range(10)]
        assert each.after(0).num_examples == 10
        later = each.after(4)
        assert later.num_examples == len(list(later.names())) == 6
        assert [int(label) for _, label in later.ordered()] == labels[4:]
        assert each.after(10).num_examples == 0 == len(list(each.after(10).names()))
    assert list(streamed(source).after(4).names()) == list("456789")


def test_the_threshold_is_of_the_wanted_precision(finished, log):
    saved = calibration.read(epath.Path(finished))
    count = len(saved.confidence)
    confidence = np.linspace(0, 1, count, dtype=np.float32)
    correct = np.arange(count) > count / 2
    model = types.SimpleNamespace(
        calibration=dataclasses.replace(saved, confidence=confidence, correct=correct)
    )
    strict = predict._calibration(model, 0.98)
    assert (strict.precision, strict.notes) == (0.98, ())
    assert strict.threshold == fitting.smallest_threshold(confidence, correct, 0.98)
    assert predict._calibration(model, 0.6).threshold < strict.threshold
    assert predict._calibration(model, 0.999).threshold is None
    assert "no threshold: a precision of 0.999 takes 2995 predictions" in log.text
    model.calibration = None
    assert predict._calibration(model, 0.9) is None
    assert "no calibration: the probabilities are the network's own" in log.text


def test_rows_without_calibration():
    outputs = {
        "position": np.array([1, 0]),
        "logits_sup": np.log(np.array([[0.1, 0.9], [0.75, 0.25]], np.float32)),
        "final_avg_pool": np.zeros([2, 3], np.float32),
    }
    first, second = predict._table_rows(("cat", "dog"), None, 2, "x", iter("ab"), outputs)
    assert first == ["a", "x", "cat", "0.750000", "dog", "0.500000", "", ""]
    assert second == ["b", "x", "dog", "0.900000", "cat", "0.800000", "", ""]
    outputs["logits_sup"][0] = np.nan
    with pytest.raises(UserError, match="logits that are not finite"):
        predict._table_rows(("cat", "dog"), None, 2, "x", iter("ab"), outputs)


def test_a_network_that_predicts_nothing(monkeypatch, main, tmp_path):
    """The line names the way out, and --mode=predict ends with its status."""
    model = types.SimpleNamespace(class_names=())
    stub = types.SimpleNamespace(model=model)
    monkeypatch.setattr(predict, "build_extractor", lambda *arguments: stub)
    arguments = ("--mode=predict", "--checkpoint=runs/a", "--dataset=digits")
    status, stderr = main(*arguments, f"--model_dir={tmp_path}/new")
    assert status == 2 and "Traceback" not in stderr
    assert "--checkpoint=runs/a: this network has no linear head" in stderr
    assert "--train_mode=finetune --checkpoint=runs/a" in stderr


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("table.xls", "table.xls: accepted are files that end in .csv and .parquet"),
        ("gs://bucket/table.csv", "which takes a local file"),
        ("directory.csv", "it is a directory"),
        ("file/table.csv", "it can't be written"),
    ],
)
def test_wrong_outputs(settings, tmp_path, monkeypatch, output, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "directory.csv").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=message):
        predict.predict(settings(predict_output=output))

"""Which stages of a chain are finished."""

import json
import os
import shutil
import time

import pytest

from tf_simclr import config
from tf_simclr.commands import finished_stages
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory


@pytest.fixture
def finish(settings):
    """A function: flags, what result.json lacks -> the directory of a run that is finished."""

    def finish(flags=(), without=()):
        options = settings(mode="train_then_eval", **dict(flags))
        directory = RunDirectory(options.train.model_dir)
        directory.create()
        RunDirectory(options.train.model_dir, options).commit()
        result = {"global_step": 2, "total_steps": 2}
        result |= {"evaluated_with": options.evaluation_flags}
        result |= {"exported_with": options.export_flags}
        kept = {name: value for name, value in result.items() if name not in without}
        directory.write(run_files.RESULT, json.loads(json.dumps(kept)))
        directory.write(run_files.CALIBRATION, {"precision": options.predict.predict_precision})
        return RunDirectory(options.train.model_dir, options)

    return finish


@pytest.mark.parametrize(
    ("flags", "is_finished"),
    [
        ({}, True),
        ({"export_formats": "saved_model,tflite"}, True),
        ({"export_formats": "saved_model,keras"}, False),
        ({"serving_max_pixels": 2**20}, False),
        ({"predict_precision": 0.9}, False),
        ({"keep_hub_module_max": 3}, True),
        ({"knn_k": 3}, False),
    ],
)
def test_a_finished_stage_is_exported_as_asked(settings, finish, flags, is_finished):
    directory = finish({"export_formats": "saved_model,tflite"})
    options = settings(mode="train_then_eval", **flags)
    assert finished_stages.is_finished(directory, options) == is_finished


def test_a_stage_of_an_earlier_version_has_its_saved_model(settings, finish):
    directory = finish(without=["exported_with"])
    assert finished_stages.is_finished(directory, settings(mode="train_then_eval"))
    more = settings(mode="train_then_eval", export_formats="saved_model,tflite")
    assert not finished_stages.is_finished(directory, more)
    (directory.path / run_files.CALIBRATION).unlink()
    assert finished_stages.is_finished(directory, settings(predict_precision=0.9))


def test_images_that_came_later(finish, tmp_path, logged):
    """Tables are no images, and what was there before is not looked at."""
    photos, tables = tmp_path / "photos", tmp_path / "tables"
    for folder in (photos / "cat", tables):
        folder.mkdir(parents=True)
    (photos / "cat" / "1.png").touch()
    for name in ("labels.csv", "Thumbs.db"):
        (tables / name).touch()

    def warnings(folder, finished):
        directory = finish({"dataset": f"folder:{folder}"})
        os.utime(directory.path / run_files.RESULT, (finished, finished))
        options = {"dataset": f"folder:{folder}", "model_dir": str(directory.path)}
        finished_stages.warn_of_new_images(directory, config.build(options))
        shutil.rmtree(directory.path)
        return logged()

    earlier, later = time.time() - 100, time.time() + 100
    assert warnings(photos, later) == warnings(tables, earlier) == []
    (line,) = warnings(photos, earlier)
    assert f"{photos}/cat is new or has changed since stage run was finished" in line
    os.utime(photos, (earlier, earlier))
    (line,) = warnings(photos, earlier)
    assert f"{photos}/cat/1.png is new" in line
    os.utime(photos / "cat", (earlier, earlier))
    assert warnings(photos, earlier) == []
    # In a folder that is a link, and one that leads back.
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "again").symlink_to(linked)
    (linked / "cat").symlink_to(photos / "cat")
    for folder in (linked, photos / "cat"):
        os.utime(folder, (earlier, earlier))
    assert warnings(linked, earlier) == []
    (photos / "cat" / "2.png").touch()
    (line,) = warnings(linked, earlier)
    assert f"{linked}/cat/1.png is new" in line
    # What the run itself writes between the images.
    directory = finish({"dataset": f"folder:{tmp_path.parent}"})
    for folder in (tmp_path.parent, tmp_path, directory.path):
        os.utime(folder, (later, later))
    changed = finished_stages._changed(str(tmp_path.parent), earlier, str(tmp_path))
    assert not [path for path in changed if path.startswith(str(tmp_path))]

"""Damaged checkpoints: none is loaded, each is named, the one before is used."""

import random
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.training import Training, initialize_from, values_of
from tf_simclr.checkpoints import checkpointer, storage
from tf_simclr.errors import Failed, UserError

CORRUPTIONS = 200


def flip(file, chance):
    content = bytearray(file.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


def truncate(file, chance):
    file.write_bytes(file.read_bytes()[: chance.randrange(file.stat().st_size)])


def overwrite(file, chance):
    start = chance.randrange(file.stat().st_size)
    content = bytearray(file.read_bytes())
    for position in range(start, min(start + 100, len(content))):
        content[position] ^= 255
    file.write_bytes(content)


def grow(file, chance):
    file.write_bytes(file.read_bytes() + chance.randbytes(20))


def lose(file, chance):
    file.unlink()


def swap(file, chance):
    """With the same file of another checkpoint."""
    shutil.copy(file.with_name(file.name.replace("ckpt-3", f"ckpt-{chance.choice([1, 2])}")), file)


DAMAGES = (flip, truncate, overwrite, grow, lose, swap)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A directory with checkpoints of steps 1 to 3, and what is in them."""
    directory = tmp_path_factory.mktemp("saved")
    values, step = tf.Variable(tf.zeros([50])), tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(model={"a/b": values, "c": tf.Variable(1.0)}, step=step)
    for number in (1, 2, 3):
        values.assign(tf.random.stateless_normal([50], [0, number]))
        step.assign(number)
        storage.write(checkpoint, directory, number)
    return directory


@pytest.mark.parametrize("number", range(CORRUPTIONS))
def test_damaged_checkpoint_is_passed_over(saved, tmp_path, caplog, number):
    chance = random.Random(number)
    directory = shutil.copytree(saved, tmp_path / "copy")
    files = sorted(directory.glob("ckpt-3.*"))
    if number % 3 == 0:  # the manifest is damaged less often
        files = [file for file in files if file.suffix != ".json"]
    file = chance.choice(files)
    is_manifest = file.suffix == ".json"
    damages = [damage for damage in DAMAGES if not (damage is lose and is_manifest)]
    before = file.read_bytes()
    damage = chance.choice(damages)
    damage(file, chance)
    if file.exists() and file.read_bytes() == before:
        assert storage.newest(directory) == str(directory / "ckpt-3"), damage
        return
    expected = str(directory / "ckpt-2")
    assert storage.newest(directory) == expected, damage
    (line,) = [record.getMessage() for record in caplog.records]
    assert "ckpt-3 is damaged and passed over: " in line and line.count("\n") == 0
    storage.set_aside(directory, 2)
    names = {path.name for path in saved.glob("ckpt-3.*")}
    lost = {file.name} if damage is lose else set()
    assert {path.name for path in (directory / "damaged").iterdir()} == names - lost
    assert storage.newest(directory) == expected
    assert tf.train.latest_checkpoint(directory) == expected


def test_all_files_of_another_step(saved, tmp_path):
    """Whole files under another name are no checkpoint of that step, with a manifest or without."""
    for file in saved.glob("ckpt-1.*"):
        shutil.copy(file, tmp_path / file.name.replace("ckpt-1", "ckpt-9"))
    message = r"ckpt-9 is damaged: ckpt-9\.sha256\.json is that of step 1"
    with pytest.raises(UserError, match=message):
        storage.newest(tmp_path)
    (tmp_path / "ckpt-9.sha256.json").unlink()
    message = "ckpt-9 is damaged: it is that of step 1; no whole checkpoint is left"
    with pytest.raises(UserError, match=message):
        storage.newest(tmp_path)


def test_without_a_manifest_tensorflow_checks(saved, tmp_path, monkeypatch):
    """As checkpoints of older versions are, and those whose writer died before its last file."""
    directory = shutil.copytree(saved, tmp_path / "copy")
    (directory / "ckpt-3.sha256.json").unlink()
    assert storage.newest(directory) == str(directory / "ckpt-3")
    overwrite(directory / "ckpt-3.data-00000-of-00001", random.Random(0))
    monkeypatch.setattr(storage, "_known_problems", {})  # the file may have the time it had
    assert storage.newest(directory) == str(directory / "ckpt-2")


def test_a_writer_that_dies_leaves_no_half(saved, tmp_path):
    """Whatever has come to its place so far."""
    names = [next(saved.glob("ckpt-3.data*")).name, "ckpt-3.index", "ckpt-3.sha256.json"]
    for count, newest in ((0, 2), (1, 2), (2, 3), (3, 3)):
        missing = shutil.ignore_patterns(*names[count:])
        directory = shutil.copytree(saved, tmp_path / str(count), ignore=missing)
        assert storage.newest(directory) == str(directory / f"ckpt-{newest}")


def test_what_can_not_be_read_now_is_not_damaged(saved, tmp_path, monkeypatch):
    """A file server that hiccups must not throw a training back."""
    directory = shutil.copytree(saved, tmp_path / "copy")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(storage, "digest", refuse)
        message = r"ckpt-3.*: it can't be read \(Permission denied\); nothing is changed"
        with pytest.raises(Failed, match=message):
            storage.newest(directory)
    assert storage.newest(directory) == str(directory / "ckpt-3")


def test_a_training_that_writes_while_it_is_checked(saved, tmp_path, monkeypatch):
    """Its only checkpoint goes in the moment in which the next one is there."""
    for file in saved.glob("ckpt-1.*"):
        shutil.copy(file, tmp_path)
    check = storage._check

    def slow_check(prefix, step, files):
        if step == 1:
            for file in tmp_path.glob("ckpt-1.*"):
                file.unlink()
            for file in saved.glob("ckpt-2.*"):
                shutil.copy(file, tmp_path)
        return check(prefix, step, files)

    monkeypatch.setattr(storage, "_check", slow_check)
    assert storage.newest(tmp_path) == str(tmp_path / "ckpt-2")


def test_write_is_done_again_where_it_failed(saved, tmp_path, monkeypatch):
    """What is there stays, and leftovers go. Names may look like patterns."""
    directory = shutil.copytree(saved, tmp_path / "lr[0.1]*")
    checkpoint = tf.train.Checkpoint(step=tf.Variable(4, dtype=tf.int64))

    def full(path):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "digest", full)
        with pytest.raises(OSError, match="No space left"):
            storage.write(checkpoint, directory, 4)
    assert names_in(directory) == names_in(saved)
    storage.write(checkpoint, directory, 4)
    assert storage.newest(directory) == str(directory / "ckpt-4")
    (directory / "ckpt-1.index").unlink()
    (directory / "ckpt-1.sha256.json").unlink()
    storage.prune(directory, 2)
    stems = {name.split(".")[0] for name in names_in(directory)}
    assert stems == {"ckpt-3", "ckpt-4", "checkpoint"}


def names_in(directory):
    return {path.name for path in directory.iterdir()}


@pytest.fixture
def training(settings, shallow):
    return Training(settings(memory_size=20))


@pytest.fixture
def make_checkpointer(training, tmp_path):
    """A function: -> a `Checkpointer` of `training`, which keeps two."""
    tracked = (training.objective, training.optimizer, training.strategy)
    return lambda: checkpointer.Checkpointer(tmp_path, *tracked, keep=2)


def save(training, checkpoints, step):
    """Saves a checkpoint all of whose values are the step."""
    for v in training.objective.variables:
        v.assign(tf.fill(v.shape, tf.cast(step, v.dtype)))
    checkpoints.step.assign(step)
    checkpoints.save()


def test_training_resumes_from_the_one_before(training, make_checkpointer, tmp_path, log):
    """It gets past the damaged step; what starts from its weights gets the same."""
    checkpoints = make_checkpointer()
    save(training, checkpoints, 1)
    save(training, checkpoints, 2)
    flip(tmp_path / "ckpt-2.data-00000-of-00001", random.Random(0))
    initialize_from(training.objective, tmp_path)
    assert not (tmp_path / "damaged").exists()
    for path, value in values_of(training.objective).items():
        assert not path.startswith("model/encoder") or np.all(value == 1)
    resumed = make_checkpointer()
    assert resumed.resume() and int(resumed.step) == 1
    assert "ckpt-2 is damaged and passed over: ckpt-2.data-" in log.text
    for step in (2, 3, 4):
        save(training, resumed, step)
    assert {path.name for path in tmp_path.glob("*.index")} == {"ckpt-3.index", "ckpt-4.index"}
    assert (tmp_path / "damaged" / "ckpt-2.data-00000-of-00001").exists()


def test_no_whole_checkpoint_is_left(training, make_checkpointer, tmp_path):
    checkpoints = make_checkpointer()
    for step in (3, 4):
        save(training, checkpoints, step)
    for file in tmp_path.glob("ckpt-*.data*"):
        truncate(file, random.Random(1))
    message = "ckpt-4 is damaged: .*, and so are 1 older ones; no whole checkpoint is left there"
    with pytest.raises(UserError, match=message):
        checkpoints.resume()
    assert len(list(tmp_path.glob("ckpt-*.index"))) == 2

"""Damaged checkpoints: none is loaded, each is named, the one before is used."""

import random
import shutil

import pytest
import tensorflow as tf

from tests.helpers.training import Training, values_of
from tf_simclr.checkpoints import checkpointer, weights
from tf_simclr.checkpoints import files as checkpoint_files
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
    content = file.read_bytes()
    file.write_bytes(
        content[:start]
        + bytes(255 - byte for byte in content[start : start + 100])
        + content[start + 100 :]
    )


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
        checkpoint_files.write(checkpoint, directory, number)
    return directory


@pytest.mark.parametrize("number", range(CORRUPTIONS))
def test_damaged_checkpoint_is_passed_over(saved, tmp_path, caplog, number):
    chance, directory = random.Random(number), shutil.copytree(saved, tmp_path / "copy")
    file = chance.choice(
        [
            file
            for file in sorted(directory.glob("ckpt-3.*"))
            if file.suffix != ".json" or number % 3
        ]
    )
    before = file.read_bytes()
    damage = chance.choice(
        [damage for damage in DAMAGES if damage is not lose or file.suffix != ".json"]
    )
    damage(file, chance)
    changed = not file.exists() or file.read_bytes() != before
    assert checkpoint_files.newest(directory) == str(directory / f"ckpt-{2 if changed else 3}"), (
        damage
    )
    if changed:
        (line,) = [record.getMessage() for record in caplog.records]
        assert "ckpt-3 is damaged and passed over: " in line and line.count("\n") == 0
        checkpoint_files.set_aside(directory, 2)
        assert {path.name for path in (directory / "damaged").iterdir()} == {
            path.name
            for path in saved.glob("ckpt-3.*")
            if damage is not lose or path.name != file.name
        }
        assert (
            checkpoint_files.newest(directory)
            == str(directory / "ckpt-2")
            == tf.train.latest_checkpoint(directory)
        )


def test_all_files_of_another_step(saved, tmp_path):
    """Whole files under another name are no checkpoint of that step, with a manifest or without."""
    for file in saved.glob("ckpt-1.*"):
        shutil.copy(file, tmp_path / file.name.replace("ckpt-1", "ckpt-9"))
    with pytest.raises(
        UserError, match=r"ckpt-9 is damaged: ckpt-9\.sha256\.json is that of step 1"
    ):
        checkpoint_files.newest(tmp_path)
    (tmp_path / "ckpt-9.sha256.json").unlink()
    with pytest.raises(
        UserError, match="ckpt-9 is damaged: it is that of step 1; no whole checkpoint is left"
    ):
        checkpoint_files.newest(tmp_path)


def test_without_a_manifest_tensorflow_checks(saved, tmp_path, monkeypatch):
    """As checkpoints of older versions are, and those whose writer died before its last file."""
    directory = shutil.copytree(saved, tmp_path / "copy")
    (directory / "ckpt-3.sha256.json").unlink()
    assert checkpoint_files.newest(directory) == str(directory / "ckpt-3")
    overwrite(directory / "ckpt-3.data-00000-of-00001", random.Random(0))
    monkeypatch.setattr(checkpoint_files, "_looked_at", {})  # the file may have the time it had
    assert checkpoint_files.newest(directory) == str(directory / "ckpt-2")


def test_a_writer_that_dies_leaves_no_half(saved, tmp_path):
    """Whatever has come to its place so far."""
    names = [next(saved.glob("ckpt-3.data*")).name, "ckpt-3.index", "ckpt-3.sha256.json"]
    for count, newest in ((0, 2), (1, 2), (2, 3), (3, 3)):
        directory = shutil.copytree(
            saved, tmp_path / str(count), ignore=shutil.ignore_patterns(*names[count:])
        )
        assert checkpoint_files.newest(directory) == str(directory / f"ckpt-{newest}")


def test_what_can_not_be_read_now_is_not_damaged(saved, tmp_path, monkeypatch):
    """A file server that hiccups must not throw a training back."""
    directory = shutil.copytree(saved, tmp_path / "copy")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_files, "_digest", refuse)
        with pytest.raises(
            Failed, match=r"ckpt-3.*: it can't be read \(Permission denied\); nothing is changed"
        ):
            checkpoint_files.newest(directory)
    assert checkpoint_files.newest(directory) == str(directory / "ckpt-3")


def test_a_training_that_writes_while_it_is_looked_at(saved, tmp_path, monkeypatch):
    """Its only checkpoint goes in the moment in which the next one is there."""
    for file in saved.glob("ckpt-1.*"):
        shutil.copy(file, tmp_path)
    look = checkpoint_files._look

    def slow_look(prefix, step, files):
        if step == 1:
            for file in tmp_path.glob("ckpt-1.*"):
                file.unlink()
            for file in saved.glob("ckpt-2.*"):
                shutil.copy(file, tmp_path)
        return look(prefix, step, files)

    monkeypatch.setattr(checkpoint_files, "_look", slow_look)
    assert checkpoint_files.newest(tmp_path) == str(tmp_path / "ckpt-2")


def test_write_is_done_again_where_it_failed(saved, tmp_path, monkeypatch):
    """What is there stays, and leftovers go. Names may look like patterns."""
    directory = shutil.copytree(saved, tmp_path / "lr[0.1]*")
    checkpoint = tf.train.Checkpoint(step=tf.Variable(4, dtype=tf.int64))
    with monkeypatch.context() as patch:
        patch.setattr(
            checkpoint_files,
            "_digest",
            lambda path: (_ for _ in ()).throw(OSError(28, "No space left on device")),
        )
        with pytest.raises(OSError, match="No space left"):
            checkpoint_files.write(checkpoint, directory, 4)
    assert sorted(path.name for path in directory.iterdir()) == sorted(
        path.name for path in saved.iterdir()
    )
    checkpoint_files.write(checkpoint, directory, 4)
    assert checkpoint_files.newest(directory) == str(directory / "ckpt-4")
    (directory / "ckpt-1.index").unlink()
    (directory / "ckpt-1.sha256.json").unlink()
    checkpoint_files.prune(directory, 2)
    assert {path.name.split(".")[0] for path in directory.iterdir()} == {
        "ckpt-3",
        "ckpt-4",
        "checkpoint",
    }


def test_training_goes_on_from_the_one_before(settings, shallow, tmp_path, log):
    """It gets past the damaged step; what starts from its weights gets the same."""
    training = Training(settings(memory_size=20))
    saver = checkpointer.Checkpointer(
        tmp_path, training.objective, training.optimizer, training.strategy, keep=2
    )

    def save(step):
        for v in training.objective.variables:
            v.assign(tf.fill(v.shape, tf.cast(step, v.dtype)))
        saver.step.assign(step)
        saver.save()

    save(1)
    save(2)
    flip(tmp_path / "ckpt-2.data-00000-of-00001", random.Random(0))
    weights.initialize_from(training.objective, tmp_path)
    assert not (tmp_path / "damaged").exists() and all(
        (value == 1).all()
        for path, value in values_of(training.objective).items()
        if path.startswith("encoder")
    )
    save(1)
    loading = checkpointer.Checkpointer(
        tmp_path, training.objective, training.optimizer, training.strategy, keep=2
    )
    assert (
        loading.resume()
        and int(loading.step) == 1
        and "ckpt-2 is damaged and passed over: ckpt-2.data-" in log.text
    )
    for step in (2, 3, 4):
        save(step)
    assert sorted(path.name for path in tmp_path.glob("*.index")) == [
        "ckpt-3.index",
        "ckpt-4.index",
    ]
    assert (tmp_path / "damaged" / "ckpt-2.data-00000-of-00001").exists()
    for file in tmp_path.glob("ckpt-*.data*"):
        truncate(file, random.Random(1))
    with pytest.raises(
        UserError,
        match=r"ckpt-4 is damaged: .*, and so are 1 older ones; no whole checkpoint is left there",
    ):
        loading.resume()
    assert len(list(tmp_path.glob("ckpt-*.index"))) == 2

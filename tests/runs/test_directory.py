"""Whose configuration a run directory holds."""

import pytest

from tf_simclr.errors import UserError
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory


def begin(options):
    directory = RunDirectory(options.train.model_dir, options)
    directory.create()
    directory.commit()
    return directory


def test_a_folder_in_other_words(settings, tmp_path, monkeypatch):
    """It is the same run; another folder is another one."""
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    options = settings(dataset="folder:photos/")
    begin(options)
    for name in ("folder:photos", "./photos", f"folder:{tmp_path}/photos"):
        same = options.replace(dataset=name)
        assert RunDirectory(options.train.model_dir, same).exists
    with pytest.raises(UserError, match="dataset is folder:photos/ there, folder:other here"):
        RunDirectory(options.train.model_dir, options.replace(dataset="folder:other"))


def test_labels_that_came_after_the_training(settings, tmp_path):
    """Learning them is what is wanted, not another pretraining."""
    options = settings(dataset=f"folder:{tmp_path}", mode="train_then_eval")
    directory = begin(options)
    directory.write_text(run_files.CHECKPOINT_LIST, "")
    way_out = "--train_mode=finetune,distill --checkpoint="
    with pytest.raises(UserError, match=f"labels is  there, a.csv here.*{way_out}"):
        RunDirectory(directory.path, options.replace(labels="a.csv"))
    with pytest.raises(UserError, match="--train_mode=pretrain --checkpoint="):
        RunDirectory(directory.path, options.replace(seed=9))

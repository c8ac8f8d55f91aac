"""A task that compares images needs others to compare with."""

import pytest

from tf_simclr import config
from tf_simclr.config.registry import COMPARING_PRETEXTS, PRETEXTS
from tf_simclr.data import datasets
from tf_simclr.data.mixture import BatchPart
from tf_simclr.errors import UserError
from tf_simclr.objectives import objective_class
from tf_simclr.training.training_data import TrainingData, check_comparable


@pytest.mark.parametrize("name", PRETEXTS)
def test_batch_of_one(name):
    """It is refused exactly where the loss of an image depends on the others."""
    flags = {"pretext": name, "train_batch_size": 2, "accumulate_steps": 2}
    settings = config.build(flags)
    assert objective_class(settings).couples_examples == (name in COMPARING_PRETEXTS)
    if name not in COMPARING_PRETEXTS:
        settings.replace(train_batch_size=1)
        return
    with pytest.raises(UserError, match=f"--train_batch_size=1: --pretext={name} compares") as info:
        settings.replace(train_batch_size=1)
    assert "at least 2" in str(info.value)


def test_batch_of_one_where_nothing_is_compared():
    settings = config.build({"train_batch_size": 1, "memory_size": 16})
    settings.replace(memory_size=0, train_mode="finetune")
    settings.replace(memory_size=0, mode="embed")


def test_single_image(settings):
    options = settings()
    source = datasets.load(options.data, "train").at_most(1)
    data = TrainingData(source, None, [BatchPart(source, 8)], 1, None, "0,65535")
    with pytest.raises(UserError, match="--pretext=simclr: it compares images, and there is one"):
        check_comparable(data, options)

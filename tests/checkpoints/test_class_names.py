"""The names of classes, as they come back from what is written of them."""

import pytest
from etils import epath

from tf_simclr import config
from tf_simclr.checkpoints.class_names import saved_class_names
from tf_simclr.export import model_card

NAMES = ("cat\nblack", "mouse\u2028x", "dog\x85", "猫")


@pytest.fixture
def assets(tmp_path):
    """A function: what `data.json` says of an export -> the folder of its assets."""

    def write(data):
        description = model_card.ModelDescription(config.build({}), NAMES, 2, {}, data)
        for name, text in model_card.asset_files(description).items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        return epath.Path(tmp_path)

    return write


def test_names_with_line_breaks(assets):
    assert saved_class_names(assets({"class_names": NAMES})) == NAMES


def test_the_text_has_a_line_for_each_class(assets):
    """It is for other programs, and read where there is no data.json."""
    assert saved_class_names(assets({})) == ("cat\\nblack", "mouse\u2028x", "dog\\x85", "猫")


def test_nothing_is_written_down(tmp_path):
    assert saved_class_names(epath.Path(tmp_path)) == ()

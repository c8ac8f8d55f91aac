"""What the tests of the training share."""

import pytest

from tests.helpers.configurations import TINY
from tf_simclr import config


@pytest.fixture
def settings(tmp_path):
    """A function: flags -> a tiny configuration without colors, which take seconds to compile."""
    defaults = {**TINY, "color_jitter_strength": 0.0, "model_dir": str(tmp_path / "run")}
    return lambda **flags: config.build({**defaults, **flags})

"""An export and a folder of photos, for the commands that apply one to the other."""

import shutil

import numpy as np
import pytest
from etils import epath
from PIL import Image

from tests.helpers.seeds import seed_of_weights
from tf_simclr.export import exporter, model_card
from tf_simclr.models.network import Network


@pytest.fixture(scope="session")
def _exports():
    """{number of classes: directory with the export of a network}, filled by `model`."""
    return {}


@pytest.fixture
def model(_exports, shallow, settings, tmp_path, tmp_path_factory):
    """A function: number of classes -> path of the export of a network, in `exported`."""

    def make(num_classes):
        if num_classes not in _exports:
            _exports[num_classes] = tmp_path_factory.mktemp("exported")
            _export(settings(), num_classes, _exports[num_classes])
        directory = tmp_path / "exported"
        shutil.copytree(_exports[num_classes], directory, dirs_exist_ok=True)
        return str(directory / "saved_model" / "1")

    return make


def _export(options, num_classes, directory):
    with seed_of_weights(0):
        network = Network(options, num_classes)
        network.build_variables()
    class_names = tuple("abcdefghij"[:num_classes])
    description = model_card.ModelDescription(options, class_names, 1, {}, {})
    exporter.export(network, description, epath.Path(directory), options=options.export)


@pytest.fixture
def photos(tmp_path, rng):
    """A folder of 12 images in two classes and one beside them."""
    names = [f"{kind}/{number}.png" for kind in ("cat", "dog") for number in range(6)]
    for name in [*names, "other.png"]:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"

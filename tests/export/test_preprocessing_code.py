"""The code of the model card repeats the preprocessing; the same pixels wherever images are taken.

All files are lossless, so that no decoder of JPEG is compared with another one.
"""

import itertools
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tf_simclr import api, config
from tf_simclr.config.automatic import Preprocessing
from tf_simclr.data import augment, decoding
from tf_simclr.data.resizing import RESIZINGS
from tf_simclr.export import model_card, preprocessing_code, saved_model
from tf_simclr.objectives.base import Objective

KINDS = list(itertools.product(augment.EVAL_CROPS, RESIZINGS))
SHAPES = [(8, 8), (61, 33), (40, 40), (150, 260), (301, 299), (1, 90)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Paths of images of several sizes: smooth ones, and one of noise."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("photos")
    paths = []
    for number, (height, width) in enumerate(SHAPES):
        coarse = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        paths.append(folder / f"{number}.png")
        image.save(paths[-1])
    noise = rng.integers(0, 256, (90, 70, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    return [*paths, folder / "noise.png"]


def settings_of(kind, size):
    eval_crop, resizing = kind
    return config.build({"image_size": size, "eval_crop": eval_crop, "resizing": resizing})


def by_signature(paths, preprocessing):
    """What the signatures of an export make of files, without the time to trace them."""
    signatures = object.__new__(saved_model._Signatures)
    signatures._preprocessing, signatures._max_pixels = preprocessing, 2**20
    signatures._value_range = None
    return np.stack([signatures._decode(tf.constant(path.read_bytes())) for path in paths])


def program_of(settings):
    """What the code of the card defines, by name."""
    card = model_card.markdown(model_card.ModelDescription(settings, (), 1, {}, {}))
    (code,) = re.findall(r"```python\n(import numpy.*?)```", card, re.DOTALL)
    program = {}
    exec(code, program)
    return program


@pytest.mark.parametrize("size", [16, 40])
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_the_code_of_the_card(photos, kind, size):
    settings = settings_of(kind, size)
    program = program_of(settings)
    expected = by_signature(photos, settings.preprocessing)
    for path, image in zip(photos, expected, strict=True):
        np.testing.assert_allclose(program["preprocess"](path), image, atol=1 / 255)


@pytest.mark.parametrize("value_range", ["100,4095", "0,65535", "top_byte"])
def test_the_code_of_the_card_for_16_bits(tmp_path, rng, value_range):
    """Microscopes write 12 of them; Pillow's own conversion to RGB makes these white."""
    values = rng.integers(0, 6000, (20, 24), np.uint16)
    path = tmp_path / "a.png"
    Image.fromarray(values).save(path)
    settings = config.build({"image_size": 16, "value_range": value_range})
    preprocess = program_of(settings)["preprocess"]
    image = decoding.decode(path.read_bytes(), value_range=settings.value_range)
    expected = augment.eval_image(image, *settings.preprocessing)
    np.testing.assert_allclose(preprocess(path), expected, atol=0.1 / 255)


def test_the_card_names_what_is_done():
    words = preprocessing_code.words
    assert "central square" in words(Preprocessing(40, "centre", "antialias"))
    assert "central square" not in words(Preprocessing(32, "centre", "antialias"))
    assert "as in the original SimCLR release" in words(Preprocessing(40, "pad", "original"))


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_the_same_pixels_everywhere(photos, kind):
    """Evaluation, Python API and signatures, bit for bit, of files and of arrays."""
    settings = settings_of(kind, 40)
    example = Objective.eval_example
    evaluated = []
    arrays = [np.asarray(Image.open(path)) for path in photos]
    for array in arrays:
        objective = _WithSettings(settings)
        evaluated.append(example(objective, tf.constant(array), 0)["image"].numpy())
    identity = lambda images: {"embedding": images}
    model = api.Model(identity, settings.preprocessing, lambda num_classes: (), value_range=None)
    for images in (list(map(str, photos)), [path.read_bytes() for path in photos], arrays):
        np.testing.assert_array_equal(model.embed(images), evaluated)
    np.testing.assert_array_equal(by_signature(photos, settings.preprocessing), evaluated)


class _WithSettings:
    """An objective as far as `eval_example` looks."""

    def __init__(self, settings):
        self.settings = settings


def test_kinds_differ(photos):
    """Otherwise the tests above would not see which one was used."""
    image = tf.constant(np.asarray(Image.open(photos[-1])))
    seen = [augment.eval_image(image, 40, *kind).numpy() for kind in KINDS]
    for first, second in itertools.combinations(seen, 2):
        assert np.abs(first - second).max() > 0.01

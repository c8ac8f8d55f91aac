"""Images that are not red, green and blue: an alpha channel is said, others are refused."""

import io

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from tests.data.test_datasets import TinyPictures
from tf_simclr import config
from tf_simclr.data import datasets, transparency, value_range
from tf_simclr.data.image import EncodedImage
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.errors import UserError


class _OfShape(TinyPictures):
    def _split_generators(self, manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number in range(2):
            (key,) = self.FEATURES
            feature = self.FEATURES[key]
            yield number, {key: np.zeros((4, 5, feature.shape[-1]), feature.np_dtype)}


class TinyInfrared(_OfShape):
    FEATURES = {"image": tfds.features.Image(shape=(None, None, 4))}


class TinyDepth(_OfShape):
    FEATURES = {"image": tfds.features.Image(shape=(None, None, 1), dtype=np.float32)}


class TinySentinel(_OfShape):
    FEATURES = {"bands": tfds.features.Tensor(shape=(4, 5, 13), dtype=np.float32)}


@pytest.mark.parametrize(
    "kind, message",
    [
        (TinyInfrared, "its feature image has 4 channels of uint8, accepted are 1 or 3"),
        (TinyDepth, "its feature image has 1 channels of float32"),
        (TinySentinel, "no image feature, only bands; bands has 13 channels"),
    ],
)
def test_data_sets_that_are_not_rgb_are_refused(kind, message, tmp_path):
    data = config.build({"dataset": kind.name, "data_dir": str(tmp_path)}).data
    with pytest.raises(UserError, match=f"{message}.*select three bands"):
        datasets.load(data, "train")


def encoded(mode, kind, **options):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels, "RGBA").convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def source_of(contents):
    records = np.array([*contents, b""], object)[:-1]
    labels = np.zeros(len(records), np.int64)
    return Indexed("pictures", "train", ("a",), EncodedImage, records, labels)


def test_transparency_is_said_with_its_number(log):
    opaque = [encoded("RGB", kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF")]
    transparency.note(source_of(opaque))
    assert not log.text
    transparent = [encoded("RGBA", "PNG"), encoded("LA", "PNG"), encoded("RGBA", "WEBP")]
    transparency.note(source_of([*opaque, *transparent, b""]))
    assert "3 of 9 images that were looked at have transparency, which is left out" in log.text


def test_transparency_without_an_alpha_channel(log):
    """A palette with it, a color that means it, and WebP without loss, which has a bit for it."""
    opaque = [encoded("L", "PNG"), encoded("RGB", "WEBP", lossless=True)]
    transparency.note(source_of(opaque))
    assert not log.text
    palette = encoded("P", "PNG", transparency=3, icc_profile=bytes(500))
    color = encoded("RGB", "PNG", transparency=(1, 2, 3))
    transparency.note(source_of([*opaque, palette, color, encoded("RGBA", "WEBP", lossless=True)]))
    assert "3 of 5 images that were looked at have transparency" in log.text


def test_the_range_of_16_bits_is_that_of_the_colors():
    """An alpha channel is 65535 where nothing is transparent."""
    pixels = np.full((4, 5, 4), 1000, np.uint16)
    pixels[0, 0] = 3000
    pixels[..., 3] = 65535
    for channels in (pixels, pixels[..., 2:]):
        content = tf.io.encode_png(tf.constant(channels)).numpy()
        assert value_range.settle("auto", source_of([content])) == "1000,3000"

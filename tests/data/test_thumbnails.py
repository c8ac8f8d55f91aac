"""Small copies of images for pages: their size, their pixels, their format."""

import io

import numpy as np
import pytest
from PIL import Image

from tf_simclr.data import thumbnails


def decoded(content):
    image = Image.open(io.BytesIO(content))
    return image.format, np.asarray(image)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((300, 600), (64, 128)),
        ((600, 300), (128, 64)),
        ((2000, 3), (128, 1)),
        ((100, 90), (100, 90)),
    ],
)
def test_the_longer_side(shape, expected):
    image_format, pixels = decoded(thumbnails.encode(np.zeros([*shape, 3], np.uint8), 128))
    assert (image_format, pixels.shape) == ("JPEG", (*expected, 3))


@pytest.mark.parametrize("shape", [(8, 8), (5, 8), (1, 1), (32, 32)])
def test_tiny_images_become_squares_of_their_pixels(rng, shape):
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    image_format, pixels = decoded(thumbnails.encode(image, 100))
    factor = 100 // max(shape)
    assert image_format == "PNG"
    np.testing.assert_array_equal(pixels, np.kron(image, np.ones([factor, factor, 1])))


def test_reducing_is_antialiased():
    """Stripes of one pixel become their mean, not one of them."""
    stripes = np.zeros([400, 400, 3], np.uint8)
    stripes[:, ::2] = 255
    _, pixels = decoded(thumbnails.encode(stripes, 50))
    assert abs(int(pixels.min()) - 127) < 10 and abs(int(pixels.max()) - 127) < 10

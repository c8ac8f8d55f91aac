"""RandAugment: each operation as Pillow's, what follows from the random numbers, and Cutout."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from tf_simclr.data import color, rand_augment
from tf_simclr.data.rand_augment import OPERATIONS

SIZE = 24
ENHANCERS = {
    "color": ImageEnhance.Color,
    "contrast": ImageEnhance.Contrast,
    "brightness": ImageEnhance.Brightness,
    "sharpness": ImageEnhance.Sharpness,
}
GRAY = (127, 127, 127)


@pytest.fixture(scope="module")
def photo():
    """A picture with edges, whose channels have different ranges."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(20, 230, (6, 6, 3)) // [1, 2, 3] + [0, 30, 5]
    noise = rng.integers(0, 20, (SIZE, SIZE, 3))
    return Image.fromarray((np.kron(blocks, np.ones((4, 4, 1))) + noise).astype(np.uint8))


def operate(photo, name, u):
    """The operation as our function does it, in [0, 255]."""
    images = tf.constant(np.asarray(photo)[None] / np.float32(255), tf.float32)
    operation = tf.constant([OPERATIONS.index(name)])
    return 255 * rand_augment.operate(images, operation, tf.constant([u]))[0].numpy()


@pytest.mark.parametrize("u", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("name", ENHANCERS)
def test_enhancement_as_pillow(photo, name, u):
    expected = np.asarray(ENHANCERS[name](photo).enhance(0.05 + 0.9 * u))
    np.testing.assert_allclose(operate(photo, name, u), expected, atol=1.6)  # Pillow rounds twice


@pytest.mark.parametrize("u", [0.1, 0.45, 0.99])
def test_values_as_pillow(photo, u):
    bits = 4 + int(5 * u)
    np.testing.assert_allclose(
        operate(photo, "posterize", u), np.asarray(ImageOps.posterize(photo, bits)), atol=1e-3
    )
    threshold = int(255 * u) + 1
    np.testing.assert_allclose(
        operate(photo, "solarize", u), np.asarray(ImageOps.solarize(photo, threshold)), atol=1e-3
    )
    equalized = operate(photo, "equalize", u)
    np.testing.assert_allclose(equalized, np.asarray(ImageOps.equalize(photo)), atol=1e-3)
    stretched = operate(photo, "autocontrast", u)
    np.testing.assert_allclose(stretched, np.asarray(ImageOps.autocontrast(photo)), atol=1.1)


def test_one_color(photo):
    """Has no contrast to stretch, and no histogram to equalize."""
    plain = Image.new("RGB", (SIZE, SIZE), (10, 200, 90))
    for name in ("autocontrast", "equalize"):
        np.testing.assert_allclose(operate(plain, name, 0.5), np.asarray(plain), atol=1e-3)


@pytest.mark.parametrize("u", [0.0, 0.2, 0.55, 0.9])
def test_geometry_as_pillow(photo, u):
    """But for a few pixels at the edges of others, where Pillow rounds."""
    amount = 2 * u - 1
    matrices = {
        "shear_x": (1, 0.3 * amount, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, 0.3 * amount, 1, 0),
        "translate_x": (1, 0, 0.3 * amount * SIZE, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, 0.3 * amount * SIZE),
    }
    expected = {"rotate": photo.rotate(30 * amount, fillcolor=GRAY)}
    for name, matrix in matrices.items():
        expected[name] = photo.transform(photo.size, Image.Transform.AFFINE, matrix, fillcolor=GRAY)
    for name, image in expected.items():
        is_equal = np.abs(operate(photo, name, u) - np.asarray(image)).max(-1) < 1
        assert is_equal.mean() > 0.98, name


def test_identity(photo):
    np.testing.assert_allclose(operate(photo, "identity", 0.7), np.asarray(photo), atol=1e-3)
    assert len(OPERATIONS) == 14


def test_cutout(rng):
    images = rng.random((3, 10, 10, 3)).astype(np.float32)
    u = np.array([[0.0, 0.5], [0.99, 0.1], [0.31, 0.77]], np.float32)
    cut = rand_augment.cutout(tf.constant(images), tf.constant(u)).numpy()
    for image, expected, (v, h) in zip(cut, images, u):
        row, column = int(10 * v), int(10 * h)
        for y in range(10):
            for x in range(10):
                is_cut = row - 2 <= y < row + 2 and column - 2 <= x < column + 2
                np.testing.assert_array_equal(image[y, x], 0.5 if is_cut else expected[y, x])


def test_two_operations_then_cutout(rng):
    """Each image by its own numbers, whatever batch it is in."""
    images = tf.constant(rng.random((6, 12, 12, 3)).astype(np.float32))
    numbers = rng.random((6, rand_augment.NUM_NUMBERS)).astype(np.float32)
    numbers[:, 1] = [0.1, 0.1, 0.9, 0.9, 0.2, 0.7]  # whether the first operation is done
    strong = rand_augment.strong(images, tf.constant(numbers))
    assert strong.shape == images.shape
    assert float(tf.reduce_min(strong)) >= 0 and float(tf.reduce_max(strong)) <= 1
    for index in range(6):
        alone = images[index][None]
        for first in (0, 3):
            which, whether, magnitude = numbers[index, first : first + 3]
            if whether < 0.5:
                operation = tf.constant([int(which * 14)])
                alone = rand_augment.operate(alone, operation, tf.constant([magnitude]))
        alone = rand_augment.cutout(alone, tf.constant(numbers[index][None, -2:]))
        np.testing.assert_allclose(strong[index], alone[0], atol=1e-6)


def test_what_a_gpu_needs(rng):
    """XLA compiles the operations and Cutout."""
    images = tf.constant(rng.random((14, 8, 8, 3)).astype(np.float32))
    u = tf.constant(rng.random((14, 2)).astype(np.float32))

    def every_operation(images, u):
        return rand_augment.cutout(rand_augment.operate(images, tf.range(14), u[:, 0]), u)

    compiled = tf.function(every_operation, jit_compile=True, autograph=False)
    np.testing.assert_allclose(compiled(images, u), every_operation(images, u), atol=1e-5)


def test_what_deterministic_needs(photo):
    """GPUs refuse tf.math.bincount with --deterministic, and segment sums of floats once did."""
    images = tf.constant(np.asarray(photo)[None] / np.float32(255), tf.float32)
    traced = tf.function(rand_augment.equalize, autograph=False).get_concrete_function(images, 0.0)
    operations = {operation.type: operation for operation in traced.graph.get_operations()}
    assert "DenseBincount" not in operations
    assert operations["UnsortedSegmentSum"].inputs[0].dtype == tf.int32


def test_gray_is_that_of_the_color_jitter(photo):
    gray = operate(photo, "color", 0.0)
    planes = tf.constant(np.asarray(photo).transpose(2, 0, 1) / np.float32(255), tf.float32)
    expected = 0.95 * color.grayscale(planes) + 0.05 * planes
    np.testing.assert_allclose(gray / 255, np.transpose(expected, [1, 2, 0]), atol=1e-5)

"""What a published network sees of images of another size."""

import numpy as np
import pytest
import tensorflow as tf

from tf_simclr.models import network


@pytest.mark.parametrize(
    ("old_size", "size"), [(16, 24), (33, 63), (32, 32), (32, 16), (20, 16), (23, 9)]
)
def test_images_of_another_size(rng, old_size, size):
    """TensorFlow's bilinear resizing with antialiasing, but compiled by XLA."""
    images = tf.constant(rng.random((2, old_size, old_size, 3)), tf.float32)
    expected = tf.image.resize(images, [size, size], antialias=True)
    np.testing.assert_allclose(network.resized(images, size), expected, atol=1e-5)
    compiled = tf.function(network.resized, jit_compile=True, autograph=False)
    np.testing.assert_allclose(compiled(images, size), expected, atol=1e-5)

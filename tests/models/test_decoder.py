"""The decoder: its sizes and widths, and that nothing hides in it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_simclr.models.decoder import Decoder, doublings


@pytest.mark.parametrize(
    ("side", "goal", "sides"),
    [
        (7, 56, [14, 28, 56]),
        (2, 9, [3, 5, 9]),
        (4, 8, [8]),
        (2, 4, [4]),
        (3, 6, [6]),
        (4, 4, []),
        (16, 4, []),
    ],
)
def test_doublings(side, goal, sides):
    assert doublings(side, goal) == sides


@pytest.mark.parametrize(
    ("side", "size", "stages"), [(7, 112, 4), (2, 33, 5), (1, 4, 2), (16, 8, 1), (16, 16, 1)]
)
def test_sizes_and_widths(side, size, stages):
    keras.config.set_dtype_policy("mixed_bfloat16")
    widths = {True: [80, 40, 32, 32, 32, 32][: stages + 1], False: [80] * stages}
    for fine, expected in widths.items():
        decoder = Decoder(80, size, 5, fine=fine, name="decoder")
        output = decoder(tf.ones([2, side, side, 3]))
        assert output.shape == (2, size, size, 5) and output.dtype == tf.float32
        assert [stage.conv.filters for stage in decoder.stages] == expected


def test_not_a_number_shows():
    """It does not become a 0 between batch norm and ReLU."""
    decoder = Decoder(32, 8, 3, name="decoder")
    run = tf.function(lambda x: decoder(x, training=True), autograph=False)
    assert np.isnan(run(tf.fill([8, 4, 4, 16], np.float32("nan")))).all()
    assert np.isfinite(run(tf.ones([8, 4, 4, 16]))).all()

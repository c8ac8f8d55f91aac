"""Moving averages: the recursion as a loop, and the momentum of the first steps."""

import numpy as np
import pytest
import tensorflow as tf

from tf_simclr.models import moving_average


def test_recursion(rng):
    averages = [tf.Variable(tf.zeros([3])), tf.Variable(1.0)]
    first, second = rng.normal(size=(2, 3)).astype(np.float32)
    moving_average.copy(averages, [first, 2.0])
    moving_average.follow(averages, [second, 4.0], 0.75)
    np.testing.assert_allclose(averages[0], 0.75 * first + 0.25 * second, rtol=1e-6)
    assert float(averages[1]) == 2.5
    with pytest.raises(ValueError):
        moving_average.copy(averages, [first])


def test_short_memory_at_the_start():
    values = [float(moving_average.warmed_up(0.999, tf.constant(step))) for step in (1, 10, 10**5)]
    assert values == pytest.approx([2 / 11, 11 / 20, 0.999])

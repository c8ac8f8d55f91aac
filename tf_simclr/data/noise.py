"""Normal random numbers for images of a batch, each from the seed of its example."""

import tensorflow as tf


def normal(seeds: tf.Tensor, shape: list[int]) -> tf.Tensor:
    """Standard normal numbers, the same of an image whatever batch and replica it is in.

    Args:
        seeds: integer [B, 2].
        shape: of the numbers of an image.

    Returns:
        float32 [B, *shape].
    """
    return tf.map_fn(
        lambda seed: tf.random.stateless_normal(shape, seed),
        seeds,
        fn_output_signature=tf.TensorSpec(shape, tf.float32),
    )

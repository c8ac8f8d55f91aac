"""Whether embeddings have collapsed to one point: the gauge of all methods that compare views."""

import math

import tensorflow as tf

# Share of the healthy 1/sqrt(d) below which the spread of the embeddings is a collapse.
COLLAPSED = 0.1


def spread(embeddings: tf.Tensor) -> tf.Tensor:
    """The standard deviation of normalized embeddings [N, d], in the mean over dimensions."""
    normalized = tf.math.l2_normalize(tf.cast(embeddings, tf.float32), -1)
    return tf.reduce_mean(tf.math.reduce_std(normalized, 0))


def warning(embedding_std: float, dim: int, remedies: str) -> str | None:
    """That embeddings have collapsed, as a line; None: they have not.

    Args:
        embedding_std: their `spread`.
        dim: of the embeddings.
        remedies: what to try.
    """
    healthy = 1 / math.sqrt(dim)
    if embedding_std >= COLLAPSED * healthy:
        return None
    return (
        f"the embeddings have collapsed: their std is {embedding_std:.2g}, healthy is about "
        f"{healthy:.2g}; try {remedies}"
    )

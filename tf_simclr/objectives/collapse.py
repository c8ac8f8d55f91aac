"""Whether embeddings have collapsed to one point: the gauge of all methods that compare views."""

import math

import tensorflow as tf

# Share of the healthy 1/sqrt(d) below which the spread of the embeddings is a collapse.
COLLAPSED = 0.1


def gauge(*embeddings: tf.Tensor) -> dict[str, tf.Tensor]:
    """The metric "embedding_std" of embeddings [N, d]; none of a single one, which has no spread.

    It is the standard deviation of the normalized embeddings, in the mean over dimensions; of
    several kinds of embeddings the least.
    """
    if embeddings[0].shape[0] == 1:
        return {}
    return {"embedding_std": tf.reduce_min([_spread(each) for each in embeddings])}


def _spread(embeddings):
    normalized = tf.math.l2_normalize(tf.cast(embeddings, tf.float32), -1)
    return tf.reduce_mean(tf.math.reduce_std(normalized, 0))


def warning(metrics: dict[str, float], dim: int, remedies: str) -> str | None:
    """That embeddings have collapsed, as a line; None: they have not.

    Args:
        metrics: of a step, with that of `gauge` or not.
        dim: of the embeddings.
        remedies: what to try.
    """
    healthy = 1 / math.sqrt(dim)
    embedding_std = metrics.get("embedding_std", healthy)
    if embedding_std >= COLLAPSED * healthy:
        return None
    return (
        f"the embeddings have collapsed: their std is {embedding_std:.2g}, healthy is about "
        f"{healthy:.2g}; try {remedies}"
    )

"""InfoNCE in blocks of keys: which of many keys belongs to a query?

Source: Hénaff et al. 2020, equation 2. Memory grows with the queries and the keys, not with their
product.
"""

import tensorflow as tf

from tf_simclr.objectives.nt_xent import BLOCK, MIN_WIDTH, Keys


def info_nce(
    queries: tf.Tensor, keys: tf.Tensor, positives: tf.Tensor, block: int = BLOCK
) -> tuple[tf.Tensor, tf.Tensor]:
    """The cross-entropy of the right keys, and how often they rank first.

    The gradient computes each block of logits again instead of keeping it.

    Args:
        queries: float32 [M, d].
        keys: float32 [N, d].
        positives: int32 [M], the key that belongs to each query.
        block: how many logits are in memory at once, but for at least MIN_WIDTH keys.

    Returns:
        (loss, accuracy), float32 scalars, the means over the queries.
    """
    num_queries = queries.shape[0]
    width = max(block // num_queries, MIN_WIDTH)

    @tf.custom_gradient
    def loss_and_accuracy(queries, keys):
        compared = Keys(keys, width)
        total, best, _ = compared.ranked(queries)
        partners = tf.gather(keys, positives)
        losses = total - tf.reduce_sum(queries * partners, -1)

        def gradient(upstream, unused):
            of_queries, of_keys = compared.gradients(queries, total, has_key_gradient=True)
            of_keys = tf.tensor_scatter_nd_sub(of_keys, positives[:, None], queries)
            scale = upstream / num_queries
            return scale * (of_queries - partners), scale * of_keys

        accuracy = tf.reduce_mean(tf.cast(best == positives, tf.float32))
        return (tf.reduce_mean(losses), accuracy), gradient

    return loss_and_accuracy(queries, keys)

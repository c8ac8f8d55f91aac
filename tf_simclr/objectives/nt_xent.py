"""NT-Xent (SimCLR sec. 2.1, eq. 1) in blocks of keys: memory grows with the batch, not with its square."""

import tensorflow as tf

from tf_simclr import distribute

MASKED = (
    1e30  # its negative is the logit of what must not count; float32 holds it, float16 would not
)
BLOCK = (
    2**20
)  # logits of a view that are in memory at once, 4 MB: what is done to them finds them in the cache
MIN_WIDTH = 256  # keys of a block at the least: narrower matrix products are slow


def nt_xent(queries, keys, temperature, negatives=None, block=BLOCK):
    """Normalised temperature-scaled cross-entropy, summed over the two directions.

    That is twice the mean of eq. 1 over all ordered positive pairs, the value that the papers' code trains on. The
    candidates of a query are all keys of the other view, all keys of its own view but its own, and `negatives`.

    The log-sum-exp over the candidates is taken online, block by block (Milakov and Gimelshein 2018), and the gradient
    computes each block of logits again instead of keeping it.

    Args:
        queries: float [B, 2, d], this replica's views. keys: float [N, 2, d], all replicas' views in replica order
            (the same embeddings gathered with gradient, or those of a key network). Both already normalised if
            similarity is to be the cosine.
        negatives: optional (float [K, d], int n), further keys of which the first n count; with them no key gets a gradient.
        block: how many logits of one view are in memory at once, but for at least MIN_WIDTH keys.

    Returns:
        (loss of this replica's queries, {"contrast_loss", "contrast_acc", "contrast_entropy", "contrast_chance"}):
        `contrast_acc` is how often the positive ranks first of the N keys of the other view, for view 0.
    """
    queries, keys = tf.cast(queries, tf.float32), tf.cast(keys, tf.float32)
    batch, total = queries.shape[0], keys.shape[0]
    mine = distribute.replica_id() * batch + tf.range(batch)  # row of each query's own keys
    width, learning = max(block // batch, MIN_WIDTH), negatives is None  # keys of a block
    past = (
        []
        if negatives is None
        else [Keys(negatives[0], width, count=tf.cast(negatives[1], tf.int32))]
    )

    @tf.custom_gradient
    def summed(queries, keys):
        query = [queries[:, view] / temperature for view in (0, 1)]  # [B, d]
        sets = [
            [Keys(keys[:, 1 - view], width), Keys(keys[:, view], width, excluded=mine), *past]
            for view in (0, 1)
        ]
        partners = [tf.gather(keys[:, 1 - view], mine) for view in (0, 1)]  # [B, d]
        across, best, mean_logit = sets[0][0].ranked(query[0])
        parts = [
            [across, *(s.log_sum_exp(query[0]) for s in sets[0][1:])],
            [s.log_sum_exp(query[1]) for s in sets[1]],
        ]
        totals = [tf.reduce_logsumexp(tf.stack(part), 0) for part in parts]  # [B]
        loss = sum(
            tf.reduce_mean(totals[view] - tf.reduce_sum(query[view] * partners[view], -1))
            for view in (0, 1)
        )

        def gradient(upstream, *unused):
            of_queries, of_keys = [], [0.0, 0.0]
            for view in (0, 1):
                found = [s.gradients(query[view], totals[view], learning) for s in sets[view]]
                of_queries.append(tf.add_n([of_query for of_query, _ in found]) - partners[view])
                if learning:
                    of_keys[view] += found[1][1]
                    of_keys[1 - view] += tf.tensor_scatter_nd_sub(
                        found[0][1], mine[:, None], query[view]
                    )
            scale = upstream / batch
            return tf.stack(of_queries, 1) * (scale / temperature), tf.stack(
                of_keys, 1
            ) * scale if learning else None

        return (
            loss,
            tf.reduce_mean(tf.cast(best == mine, tf.float32)),
            tf.reduce_mean(across - mean_logit),
        ), gradient

    loss, accuracy, entropy = summed(queries, keys)
    count = tf.cast(2 * total - 1, tf.float32) + (
        0.0 if negatives is None else tf.cast(negatives[1], tf.float32)
    )
    return loss, {
        "contrast_loss": loss,
        "contrast_acc": accuracy,
        "contrast_entropy": entropy,
        "contrast_chance": 2 * tf.math.log(count),
    }


class Keys:
    """Keys [M, d] that queries [B, d], already divided by the temperature, are compared with, `width` at a time.

    Args:
        count: how many count, the first ones; None: all. excluded: int32 [B], the key that each query must not see.
    """

    def __init__(self, keys, width, count=None, excluded=None):
        self._number, self._width = -(-keys.shape[0] // width), min(width, keys.shape[0])
        self._masked, self._excluded = count is not None or self._number > 1, excluded
        self._count, self._size = keys.shape[0] if count is None else count, keys.shape[0]
        padding = self._number * self._width - keys.shape[0]
        padded = tf.pad(keys, [[0, padding], [0, 0]]) if padding else keys
        self._blocks = tf.reshape(padded, [self._number, self._width, keys.shape[1]])

    def log_sum_exp(self, query):
        """Of each query's logits, [B]."""

        def add(number, state):
            greatest, total = state
            logits = self._logits(query, number)
            new = tf.maximum(greatest, tf.reduce_max(logits, 1))
            return new, total * tf.exp(greatest - new) + tf.reduce_sum(
                tf.exp(logits - new[:, None]), 1
            )

        greatest, total = self._over_blocks(
            add, (tf.fill([query.shape[0]], -MASKED), tf.zeros([query.shape[0]]))
        )
        return greatest + tf.math.log(total)

    def ranked(self, query):
        """(log-sum-exp, index of the greatest logit, mean of the logits under their softmax), each [B]."""
        batch = query.shape[0]

        def add(number, state):
            greatest, best, total, weighted = state
            logits = self._logits(query, number)
            here = tf.argmax(logits, 1, tf.int32)
            value = tf.gather(logits, here, batch_dims=1)
            best = tf.where(value > greatest, number * self._width + here, best)
            new = tf.maximum(greatest, value)
            shrink, p = tf.exp(greatest - new), tf.exp(logits - new[:, None])
            return (
                new,
                best,
                total * shrink + tf.reduce_sum(p, 1),
                weighted * shrink + tf.reduce_sum(p * logits, 1),
            )

        start = (
            tf.fill([batch], -MASKED),
            tf.zeros([batch], tf.int32),
            tf.zeros([batch]),
            tf.zeros([batch]),
        )
        greatest, best, total, weighted = self._over_blocks(add, start)
        return greatest + tf.math.log(total), best, weighted / total

    def gradients(self, query, total, learning):
        """Of the sum of the log-sum-exps `total` [B] that these keys are a part of: (to the queries but for the temperature [B, d], if `learning` to the keys [M, d])."""

        def add(number, state):
            p = tf.exp(self._logits(query, number) - total[:, None])  # [B, width]
            of_query = state[0] + tf.matmul(p, self._blocks[number])
            return (
                (of_query, state[1].write(number, tf.matmul(p, query, transpose_a=True)))
                if learning
                else (of_query,)
            )

        start = (tf.zeros_like(query),)
        if learning:
            start += (
                tf.TensorArray(tf.float32, self._number, element_shape=self._blocks.shape[1:]),
            )
        of_query, *of_keys = self._over_blocks(add, start)
        return of_query, of_keys[0].concat()[: self._size] if learning else None

    def _logits(self, query, number):
        """[B, width] of block `number`; those that must not count are far below all others."""
        logits = tf.matmul(query, self._blocks[number], transpose_b=True)
        if not self._masked and self._excluded is None:
            return logits
        column = number * self._width + tf.range(self._width)
        wrong = (column >= self._count)[None]
        if self._excluded is not None:
            wrong |= column[None] == self._excluded[:, None]
        return tf.where(wrong, -MASKED, logits)

    def _over_blocks(self, add, state):
        if self._number == 1:
            return add(0, state)
        return tf.while_loop(
            lambda number, *state: number < self._number,
            lambda number, *state: (number + 1, *add(number, state)),
            (tf.constant(0), *state),
            parallel_iterations=1,
            maximum_iterations=self._number,
        )[1:]

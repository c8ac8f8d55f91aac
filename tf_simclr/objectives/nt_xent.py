"""NT-Xent (SimCLR section 2.1, equation 1) in blocks of keys.

Memory grows with the batch, not with its square.
"""

import tensorflow as tf

from tf_simclr import distribute

# The negative of it is the logit of what must not count; float32 holds it, float16 would not.
MASKED = 1e30
# Logits of a view that are in memory at once, 4 MB: what is done to them finds them in the cache.
BLOCK = 2**20
MIN_WIDTH = 256  # keys of a block at the least: narrower matrix products are slow


def dense_nt_xent(queries, keys, temperature):
    """The definition of the loss, for one replica and without `negatives`.

    Args:
        queries: float32 [B, 2, d].
        keys: float32 [B, 2, d].
        temperature: float.

    Returns:
        The loss, see `nt_xent`.
    """
    labels = tf.range(queries.shape[0])
    same_example = tf.eye(queries.shape[0]) * MASKED
    loss = 0.0
    for view in (0, 1):
        query = queries[:, view] / temperature
        logits_other_view = tf.matmul(query, keys[:, 1 - view], transpose_b=True)  # [B, B]
        logits_same_view = tf.matmul(query, keys[:, view], transpose_b=True) - same_example
        logits = tf.concat([logits_other_view, logits_same_view], 1)  # [B, 2B]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        loss += tf.reduce_mean(losses)
    return loss


def nt_xent(queries, keys, temperature, negatives=None, block=BLOCK):
    """Normalized temperature-scaled cross-entropy, summed over the two directions.

    That is twice the mean of equation 1 over all ordered positive pairs, the value that the
    original SimCLR release trains on. The candidates of a query are all keys of the other view, all
    keys of its own view but its own, and `negatives`.

    The log-sum-exp over the candidates is taken online, block by block (Milakov and Gimelshein
    2018), and the gradient computes each block of logits again instead of keeping it.

    Args:
        queries: float [B, 2, d], this replica's views, normalized if similarity is to be the
            cosine.
        keys: float [N, 2, d], likewise, all replicas' views in replica order: the same embeddings
            gathered with gradient, or those of a key network.
        temperature: float.
        negatives: optional (float [K, d], int n), further keys of which the first n count; with
            them no key gets a gradient.
        block: how many logits of one view are in memory at once, but for at least MIN_WIDTH keys.

    Returns:
        (loss of this replica's queries, {"contrast_loss", "contrast_acc", "contrast_entropy",
        "contrast_chance"}): `contrast_acc` is how often the positive ranks first of the N keys of
        the other view, for view 0.
    """
    queries = tf.cast(queries, tf.float32)
    keys = tf.cast(keys, tf.float32)
    batch, total = queries.shape[0], keys.shape[0]
    positives = distribute.replica_id() * batch + tf.range(batch)  # rows of the queries' own keys
    width = max(block // batch, MIN_WIDTH)
    memory = []
    num_candidates = tf.cast(2 * total - 1, tf.float32)
    if negatives is not None:
        memory_keys, num_filled = negatives
        memory.append(Keys(memory_keys, width, count=tf.cast(num_filled, tf.int32)))
        num_candidates += tf.cast(num_filled, tf.float32)
    has_key_gradient = negatives is None

    @tf.custom_gradient
    def loss_and_metrics(queries, keys):
        directions = [
            Direction(queries, keys, view, temperature, positives, width, memory) for view in (0, 1)
        ]
        first, second = directions
        other_view, best, mean_logit = first.other_view.ranked(first.query)
        totals = [first.log_sum_exp(other_view), second.log_sum_exp()]
        losses = [
            direction.loss(total) for direction, total in zip(directions, totals, strict=True)
        ]

        def gradient(upstream, *unused):
            query_gradients = []
            key_gradients = [0.0, 0.0]
            for direction, total in zip(directions, totals, strict=True):
                query_gradient, other_view, same_view = direction.gradients(total, has_key_gradient)
                query_gradients.append(query_gradient)
                if has_key_gradient:
                    key_gradients[direction.view] += same_view
                    key_gradients[1 - direction.view] += other_view
            scale = upstream / batch
            query_gradient = tf.stack(query_gradients, 1) * (scale / temperature)
            if not has_key_gradient:
                return query_gradient, None
            return query_gradient, tf.stack(key_gradients, 1) * scale

        accuracy = tf.reduce_mean(tf.cast(best == positives, tf.float32))
        entropy = tf.reduce_mean(other_view - mean_logit)
        return (sum(losses), accuracy, entropy), gradient

    loss, accuracy, entropy = loss_and_metrics(queries, keys)
    return loss, {
        "contrast_loss": loss,
        "contrast_acc": accuracy,
        "contrast_entropy": entropy,
        "contrast_chance": 2 * tf.math.log(num_candidates),
    }


class Direction:
    """The loss of one view's queries: forward and backward.

    Args:
        queries: float32 [B, 2, d].
        keys: float32 [N, 2, d].
        view: 0 or 1, of the queries.
        temperature: float.
        positives: int32 [B], the row of each query's own keys.
        width: keys of a block.
        memory: further `Keys` without gradient.
    """

    def __init__(self, queries, keys, view, temperature, positives, width, memory):
        self.view = view
        self.query = queries[:, view] / temperature  # [B, d]
        self.other_view = Keys(keys[:, 1 - view], width)
        self.same_view = Keys(keys[:, view], width, excluded=positives)
        self._memory = memory
        self._positives = positives
        self._partners = tf.gather(keys[:, 1 - view], positives)  # [B, d]

    def log_sum_exp(self, other_view=None):
        """Of each query's logits, float32 [B].

        Args:
            other_view: that of the keys of the other view, if it is known.
        """
        if other_view is None:
            other_view = self.other_view.log_sum_exp(self.query)
        terms = [other_view]
        for keys in (self.same_view, *self._memory):
            terms.append(keys.log_sum_exp(self.query))
        return tf.reduce_logsumexp(tf.stack(terms), 0)

    def loss(self, total):
        """The mean cross-entropy, a scalar. total: float32 [B], see `log_sum_exp`."""
        positive_logits = tf.reduce_sum(self.query * self._partners, -1)
        return tf.reduce_mean(total - positive_logits)

    def gradients(self, total, has_key_gradient):
        """Of the sum over the queries.

        Args:
            total: float32 [B], see `log_sum_exp`.
            has_key_gradient: whether the keys get one.

        Returns:
            (to the queries but for the temperature [B, d], to the keys of the other view [N, d],
            to those of the same view [N, d]); the last two are None without `has_key_gradient`.
        """
        terms = [
            keys.gradients(self.query, total, has_key_gradient)
            for keys in (self.other_view, self.same_view, *self._memory)
        ]
        query_gradient = tf.add_n([of_query for of_query, _ in terms]) - self._partners
        if not has_key_gradient:
            return query_gradient, None, None
        (_, other_view), (_, same_view) = terms
        other_view = tf.tensor_scatter_nd_sub(other_view, self._positives[:, None], self.query)
        return query_gradient, other_view, same_view


class Keys:
    """Keys that queries [B, d], already divided by the temperature, are compared with.

    Args:
        keys: float32 [M, d].
        width: how many are compared at a time.
        count: how many count, the first ones; None: all.
        excluded: int32 [B], the key that each query must not see; None: none.
    """

    def __init__(self, keys, width, count=None, excluded=None):
        self._size = keys.shape[0]
        self._num_blocks = -(-self._size // width)
        self._width = min(width, self._size)
        self._excluded = excluded
        self._count = self._size if count is None else count
        padding = self._num_blocks * self._width - self._size
        self._has_padding = count is not None or self._num_blocks > 1
        padded = tf.pad(keys, [[0, padding], [0, 0]]) if padding else keys
        self._blocks = tf.reshape(padded, [self._num_blocks, self._width, keys.shape[1]])

    def log_sum_exp(self, query):
        """Of each query's logits, float32 [B]."""

        def add(number, state):
            greatest, total = state
            logits = self._logits(query, number)
            new = tf.maximum(greatest, tf.reduce_max(logits, 1))
            block_total = tf.reduce_sum(tf.exp(logits - new[:, None]), 1)
            return new, total * tf.exp(greatest - new) + block_total

        batch = query.shape[0]
        start = (tf.fill([batch], -MASKED), tf.zeros([batch]))
        greatest, total = self._over_blocks(add, start)
        return greatest + tf.math.log(total)

    def ranked(self, query):
        """(log-sum-exp, index of the greatest logit, mean of the logits under their softmax).

        Each is [B].
        """

        def add(number, state):
            greatest, best, total, weighted = state
            logits = self._logits(query, number)
            best_of_block = tf.argmax(logits, 1, tf.int32)
            value = tf.gather(logits, best_of_block, batch_dims=1)
            best = tf.where(value > greatest, number * self._width + best_of_block, best)
            new = tf.maximum(greatest, value)
            shrink = tf.exp(greatest - new)
            p = tf.exp(logits - new[:, None])
            total = total * shrink + tf.reduce_sum(p, 1)
            weighted = weighted * shrink + tf.reduce_sum(p * logits, 1)
            return new, best, total, weighted

        batch = query.shape[0]
        start = (
            tf.fill([batch], -MASKED),
            tf.zeros([batch], tf.int32),
            tf.zeros([batch]),
            tf.zeros([batch]),
        )
        greatest, best, total, weighted = self._over_blocks(add, start)
        return greatest + tf.math.log(total), best, weighted / total

    def gradients(self, query, total, has_key_gradient):
        """Of the sum of log-sum-exps that these keys are a part of.

        Args:
            query: float32 [B, d].
            total: float32 [B], the log-sum-exps.
            has_key_gradient: whether the keys get one.

        Returns:
            (to the queries but for the temperature [B, d], to the keys [M, d] or None).
        """

        def add(number, state):
            p = tf.exp(self._logits(query, number) - total[:, None])  # [B, width]
            query_gradient = state[0] + tf.matmul(p, self._blocks[number])
            if not has_key_gradient:
                return (query_gradient,)
            block_gradient = tf.matmul(p, query, transpose_a=True)
            return query_gradient, state[1].write(number, block_gradient)

        start = (tf.zeros_like(query),)
        if has_key_gradient:
            block_shape = self._blocks.shape[1:]
            start += (tf.TensorArray(tf.float32, self._num_blocks, element_shape=block_shape),)
        query_gradient, *block_gradients = self._over_blocks(add, start)
        if not has_key_gradient:
            return query_gradient, None
        return query_gradient, block_gradients[0].concat()[: self._size]

    def _logits(self, query, number):
        """[B, width] of block `number`; those that must not count are far below all others."""
        logits = tf.matmul(query, self._blocks[number], transpose_b=True)
        if not self._has_padding and self._excluded is None:
            return logits
        column = number * self._width + tf.range(self._width)
        is_masked = (column >= self._count)[None]
        if self._excluded is not None:
            is_masked |= column[None] == self._excluded[:, None]
        return tf.where(is_masked, -MASKED, logits)

    def _over_blocks(self, add, state):
        """The state after `add(number of the block, state) -> state` for all blocks."""
        if self._num_blocks == 1:
            return add(0, state)
        _, *state = tf.while_loop(
            lambda number, *state: number < self._num_blocks,
            lambda number, *state: (number + 1, *add(number, state)),
            (tf.constant(0), *state),
            parallel_iterations=1,
            maximum_iterations=self._num_blocks,
        )
        return state

"""Logistic regression in minibatches on the device, for more examples than L-BFGS is made for."""

import keras
import numpy as np
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from tf_simclr.evaluation.metrics.base import Examples

BATCH_SIZE = 1024
NUM_EPOCHS = 20
LEARNING_RATE = 3e-3
MIN_STEPS = 2000  # fewer examples are seen more often
SCALER_BLOCK = 64 * BATCH_SIZE  # examples that are read at once to standardize
SCORE_BLOCK = 16 * BATCH_SIZE  # examples that are read at once to measure the accuracy,
MAX_SCORED = 100_000_000  # or fewer: so many logits of all strengths are held at once


def fit(
    train: Examples,
    strengths: tuple[float, ...],
    held_out: float,
    class_weight: str | None = None,
) -> tuple[Pipeline, float]:
    """Fits a classifier for each L2 strength, all in the same passes, and keeps the best.

    Adam with a rate that falls to 0, on standardized features, cross-entropy + strength/(2N) times
    the squared weights.

    Args:
        train: its features may be a memory map.
        strengths: to choose from.
        held_out: share of the examples that chooses, and is not fitted to.
        class_weight: "balanced", or None, as scikit-learn has it.

    Returns:
        (a fitted scikit-learn pipeline, its strength).
    """
    classes, targets = np.unique(train.labels, return_inverse=True)
    example_weights = compute_sample_weight(class_weight, targets).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(train))
    num_held_out = max(int(held_out * len(train)), 1)
    scaler = StandardScaler()
    for block in _blocks(np.arange(len(train)), SCALER_BLOCK):
        scaler.partial_fit(train.features[block])
    # In the order of the file: random access to a memory map is slow.
    held_out_index = np.sort(order[:num_held_out])
    fitted_index = np.sort(order[num_held_out:])
    weights, biases = _descend(
        train.features,
        targets,
        fitted_index,
        example_weights=example_weights,
        scaler=scaler,
        strengths=np.array(strengths, np.float32),
        num_classes=len(classes),
    )
    scores = np.zeros(len(strengths))
    logits_per_example = len(strengths) * len(classes)
    block_size = min(SCORE_BLOCK, max(MAX_SCORED // logits_per_example, 1))
    for block in _blocks(held_out_index, block_size):
        scaled = scaler.transform(train.features[block])
        logits = np.einsum("nc,gck->gnk", scaled, weights) + biases
        scores += (logits.argmax(2) == targets[block]) @ example_weights[block]
    best = int(np.argmax(scores))
    regression = _as_regression(weights[best], biases[best, 0], classes)
    return make_pipeline(scaler, regression), strengths[best]


def _blocks(index, size):
    """An index in blocks of about `size`."""
    return np.array_split(index, -(-len(index) // size))


def _descend(features, targets, index, *, example_weights, scaler, strengths, num_classes):
    """Minimizes the losses of all strengths at once.

    Returns:
        (weights float32 [G, C, K], biases float32 [G, 1, K]) for G strengths, C features and K
        classes.
    """
    num_strengths = len(strengths)
    weights = tf.Variable(tf.zeros([num_strengths, features.shape[1], num_classes]))
    biases = tf.Variable(tf.zeros([num_strengths, 1, num_classes]))
    mean = tf.constant(scaler.mean_, tf.float32)
    scale = tf.constant(scaler.scale_, tf.float32)
    steps_per_epoch = -(-len(index) // BATCH_SIZE)
    num_epochs = max(NUM_EPOCHS, -(-MIN_STEPS // steps_per_epoch))
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, num_epochs * steps_per_epoch)
    optimizer = keras.optimizers.Adam(schedule)
    optimizer.build([weights, biases])

    @tf.function(reduce_retracing=True, autograph=False)
    def step(x, y, weight):
        with tf.GradientTape() as tape:
            logits = tf.einsum("nc,gck->gnk", (x - mean) / scale, weights) + biases  # [G, n, K]
            tiled = tf.tile(y[None], [num_strengths, 1])
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tiled, logits)  # [G, n]
            squares = tf.reduce_sum(tf.square(weights), [1, 2])
            decay = squares * strengths / (2 * len(index))  # [G]
            # The sum is as good as each by itself: the strengths have no weight in common.
            loss = tf.reduce_sum(tf.reduce_mean(losses * weight, 1) + decay)
        optimizer.apply(tape.gradient(loss, [weights, biases]), [weights, biases])

    rng = np.random.default_rng(0)
    for _ in range(num_epochs):
        for number in rng.permutation(steps_per_epoch):
            batch = index[number::steps_per_epoch]
            step(*map(tf.constant, (features[batch], targets[batch], example_weights[batch])))
    return weights.numpy(), biases.numpy()


def _as_regression(weights, biases, classes):
    """A scikit-learn classifier with weights [C, K] and biases [K]."""
    regression = LogisticRegression()
    regression.classes_ = classes
    regression.n_features_in_ = len(weights)
    regression.coef_ = weights.T
    regression.intercept_ = biases
    if len(classes) == 2:  # scikit-learn has one row, the logit of the second class
        regression.coef_ = regression.coef_[1:] - regression.coef_[:1]
        regression.intercept_ = biases[1:] - biases[:1]
    return regression

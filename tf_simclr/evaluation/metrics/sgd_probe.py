"""Logistic regression in minibatches on the device, for more examples than scikit-learn's solver is made for."""

import keras
import numpy as np
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

BATCH, EPOCHS, RATE = 1024, 20, 3e-3
LEAST_STEPS = 2000  # fewer examples are seen more often


def fit(train, strengths, held_out):
    """Fits one classifier for each of the L2 strengths, all of them in the same passes over the features, and keeps the best.

    Adam with a rate that falls to 0, on standardised features, cross-entropy + strength/(2N) times the squared weights.

    Args:
        train: `Examples`; its features may be a file in memory map. held_out: the share of them that chooses and is not fitted to.

    Returns:
        (a fitted scikit-learn pipeline, its strength).
    """
    classes, targets = np.unique(train.labels, return_inverse=True)
    order = np.random.default_rng(0).permutation(len(train))
    cut = max(int(held_out * len(train)), 1)
    scaler = StandardScaler()
    for block in np.array_split(np.arange(len(train)), -(-len(train) // (64 * BATCH))):
        scaler.partial_fit(train.features[block])
    # In the order of the file: random access to a memory map is slow.
    checked, fitted_to = np.sort(order[:cut]), np.sort(order[cut:])
    weights, biases = _descend(
        train.features, targets, fitted_to, scaler, np.array(strengths, np.float32), len(classes)
    )
    right = [0] * len(strengths)
    for rows in np.array_split(checked, -(-cut // (16 * BATCH))):
        logits = np.einsum("nc,gck->gnk", scaler.transform(train.features[rows]), weights) + biases
        right = right + (logits.argmax(2) == targets[rows]).sum(1)
    best = int(np.argmax(right))
    return make_pipeline(
        scaler, _as_regression(weights[best], biases[best, 0], classes)
    ), strengths[best]


def _descend(features, targets, rows, scaler, strengths, num_classes):
    """(weights float32 [G, C, K], biases [G, 1, K]) after all epochs."""
    width, groups = features.shape[1], len(strengths)
    weights = tf.Variable(tf.zeros([groups, width, num_classes]))
    biases = tf.Variable(tf.zeros([groups, 1, num_classes]))
    mean, scale = (tf.constant(values, tf.float32) for values in (scaler.mean_, scaler.scale_))
    steps_of_epoch = -(-len(rows) // BATCH)
    epochs = max(EPOCHS, -(-LEAST_STEPS // steps_of_epoch))
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(RATE, epochs * steps_of_epoch)
    )
    optimizer.build([weights, biases])

    @tf.function(reduce_retracing=True, autograph=False)
    def step(x, y):
        with tf.GradientTape() as tape:
            logits = tf.einsum("nc,gck->gnk", (x - mean) / scale, weights) + biases  # [G, n, K]
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.tile(y[None], [groups, 1]), logits
            )
            decay = tf.reduce_sum(tf.square(weights), [1, 2]) * strengths / (2 * len(rows))  # [G]
            loss = tf.reduce_sum(
                tf.reduce_mean(losses, 1) + decay
            )  # the groups have no weight in common
        optimizer.apply(tape.gradient(loss, [weights, biases]), [weights, biases])

    rng = np.random.default_rng(0)
    for _ in range(epochs):
        for index in rng.permutation(steps_of_epoch):
            batch = rows[index::steps_of_epoch]
            step(tf.constant(features[batch]), tf.constant(targets[batch]))
    return weights.numpy(), biases.numpy()


def _as_regression(weights, biases, classes):
    regression = LogisticRegression()
    regression.classes_, regression.n_features_in_ = classes, len(weights)
    regression.coef_, regression.intercept_ = weights.T, biases
    if len(classes) == 2:  # scikit-learn has one row, the logit of the second class
        regression.coef_, regression.intercept_ = (
            regression.coef_[1:] - regression.coef_[:1],
            biases[1:] - biases[:1],
        )
    return regression

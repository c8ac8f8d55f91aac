"""Confidence thresholds that follow what a network predicts (FreeMatch, Wang et al. 2023)."""

import keras
import tensorflow as tf

from tf_simclr.models import moving_average


class AdaptiveThreshold(keras.layers.Layer):
    """Moving averages of the predictions for images without label. Equal on all replicas.

    Args:
        num_classes: C.
        momentum: lambda of the averages.
    """

    def __init__(self, num_classes: int, momentum: float, name: str = "adaptive_threshold"):
        super().__init__(name=name)
        self.num_classes = num_classes
        self.momentum = momentum

    def build(self, shape=None):
        """Makes the variables, 1 / C each."""

        def average(name, shape):
            return self.add_weight(
                name=name,
                shape=shape,
                initializer=keras.initializers.Constant(1 / self.num_classes),
                dtype="float32",
                trainable=False,
                autocast=False,
            )

        self.confidence = average("confidence", ())
        self.mean_prediction = average("mean_prediction", (self.num_classes,))
        self.histogram = average("histogram", (self.num_classes,))
        self.built = True

    def update(self, confidence: tf.Tensor, mean_prediction: tf.Tensor, histogram: tf.Tensor):
        """One step of the averages (section 4.1).

        Args:
            confidence: mean of the largest probability, float32 scalar.
            mean_prediction: mean of the probabilities, float32 [C].
            histogram: share of each class among the likeliest ones, float32 [C].
        """
        averages = [self.confidence, self.mean_prediction, self.histogram]
        values = [confidence, mean_prediction, histogram]
        moving_average.follow(averages, values, self.momentum)

    def of_classes(self) -> tf.Tensor:
        """The threshold of each class, float32 [C] (section 4.1)."""
        mean_prediction = tf.convert_to_tensor(self.mean_prediction)
        return self.confidence * mean_prediction / tf.reduce_max(mean_prediction)

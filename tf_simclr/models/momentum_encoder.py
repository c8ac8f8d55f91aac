"""A slow copy of an encoder and a head, whose weights are a moving average.

Source: MoCo (He et al. 2020), equation 2; the same in SimCLRv2 section 2 and BYOL equation 1.
"""

import keras
import tensorflow as tf

from tf_simclr.models import moving_average

KEY_NETWORK = "key_network"


class MomentumEncoder(keras.layers.Layer):
    """Encoder and head whose weights follow another pair as a moving average.

    Args:
        encoder: that is averaged.
        head: that is averaged; it reads the encoder's `final_avg_pool`.
    """

    def __init__(self, encoder, head, name: str = KEY_NETWORK, **kwargs):
        super().__init__(name=name, **kwargs)
        self.encoder = encoder
        self.head = head

    def call(self, images, training=False):
        """What the head gives."""
        features = self.encoder(images, training=training)["final_avg_pool"]
        return self.head(features, training=training)

    def build_frozen(self, image_size: int):
        """Makes the variables, not trainable; batch norm still uses each batch's statistics."""
        self(tf.zeros([1, image_size, image_size, 3]))
        self.averaged = [index for index, v in enumerate(self.variables) if v.trainable]
        for v in self.variables:
            v.trainable = False

    def copy_from(self, variables: list):
        """Starts from `variables`, in the order of this network's own."""
        moving_average.copy(self.variables, variables)

    def update(self, variables: list, momentum):
        """One step of the moving average of the weights.

        The statistics of batch norm are this network's own.

        Args:
            variables: that are followed, in the order of this network's own.
            momentum: share of the weights that stays, a scalar.
        """
        averages = [self.variables[index] for index in self.averaged]
        followed = [variables[index] for index in self.averaged]
        moving_average.follow(averages, followed, momentum)

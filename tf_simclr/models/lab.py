"""Two encoders in one: a ResNet of the lightness L of an image, and one of its colors ab.

Source: Tian et al. 2020, "Contrastive Multiview Coding", section 4.1: each has half the channels,
and the representation is that of both.
"""

import numpy as np
import tensorflow as tf

from tf_simclr.models.color_space import rgb_to_lab
from tf_simclr.models.layers import Composite
from tf_simclr.models.resnet import ResNet

# What sRGB reaches in L, a and b, which becomes -1 to 1 (train_CMC.py of HobbitLong/CMC).
LOW = np.array([0, -86.183, -107.857], np.float32)
HIGH = np.array([100, 98.233, 94.478], np.float32)


class LabEncoder(Composite):
    """The encoder f: images [B, H, W, 3] in [0, 1] -> dict of its named outputs.

    They are those of `resnet.ResNet`, the channels of the lightness before those of the colors.

    Args:
        width: factor on the channels of both together.
        **options: as of `ResNet`.

    Attributes:
        lightness: the `ResNet` of the lightness.
        color: that of the colors.
        feature_dim: C of the pooled output.
    """

    def __init__(self, width: float = 1.0, name: str = "encoder", **options):
        super().__init__(name=name, autocast=False)  # colors are converted in float32
        self.lightness = ResNet(width=width / 2, name="lightness", **options)
        self.color = ResNet(width=width / 2, name="color", **options)
        self.feature_dim = self.lightness.feature_dim + self.color.feature_dim

    def call(self, images, training=False):
        lightness, color = split(tf.cast(images, tf.float32))
        of_lightness = self.lightness(lightness, training=training)
        of_color = self.color(color, training=training)
        return {name: tf.concat([of_lightness[name], of_color[name]], -1) for name in of_color}

    @property
    def last_map(self) -> str:
        """The name of the last feature map."""
        return self.lightness.last_map

    @property
    def levels(self) -> list[list]:
        """The variables by depth: those of both stems, and of each group of both."""
        levels = zip(self.lightness.levels, self.color.levels, strict=True)
        return [of_lightness + of_color for of_lightness, of_color in levels]

    @property
    def not_decayed(self) -> list:
        """The variables that no weight decay is of, besides batch norm and biases."""
        return []

    def freeze(self, after_block: int):
        """Freezes layers of both halves, see `ResNet.freeze`."""
        self.lightness.freeze(after_block)
        self.color.freeze(after_block)


def split(images):
    """The lightness and the colors of images.

    Args:
        images: [B, H, W, 3] in [0, 1], also symbolic ones of Keras.

    Returns:
        (L [B, H, W, 1], ab [B, H, W, 2]), from -1 to 1.
    """
    scaled = (rgb_to_lab(images) - (LOW + HIGH) / 2) / ((HIGH - LOW) / 2)
    return scaled[..., :1], scaled[..., 1:]

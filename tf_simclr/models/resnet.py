"""ResNet and its selective-kernel and squeeze-and-excite variants.

Source: SimCLR section 2.1, SimCLRv2 section 2 and appendix C.2. Feature maps are [B, H, W, C]; `w`
is the width multiplier.
"""

import dataclasses
import functools

import keras
import tensorflow as tf

from tf_simclr.config.automatic import AUTO, resolve_stem
from tf_simclr.models.folding import conv_and_norm
from tf_simclr.models.layers import BatchNorm, Composite, Conv, rematerialized
from tf_simclr.models.residual_blocks import BasicBlock, BottleneckBlock

BASE_CHANNELS = 64  # channels of stem and first group at width 1

# {depth: (block, blocks of each group)}
FAMILY = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (BottleneckBlock, (3, 4, 6, 3)),
    101: (BottleneckBlock, (3, 4, 23, 3)),
    152: (BottleneckBlock, (3, 8, 36, 3)),
    200: (BottleneckBlock, (3, 24, 36, 3)),
}


@dataclasses.dataclass(frozen=True)
class StemConv:
    """A convolution of the stem.

    Attributes:
        width_factor: of its channels to those of the stem.
        kernel_size: side of the kernel.
        strides: of both axes.
    """

    width_factor: float
    kernel_size: int
    strides: int


class Stem(Composite):
    """Images -> first feature map.

    Args:
        width: channels of the last convolution.
        convs: the convolutions, one of `STANDARD`, `SELECTIVE` and `CIFAR`.
        pool: whether it ends in max pooling.
        norm: a function that makes a `BatchNorm`.
    """

    STANDARD = (StemConv(1.0, 7, 2),)
    SELECTIVE = (StemConv(0.5, 3, 2), StemConv(0.5, 3, 1), StemConv(1.0, 3, 1))
    CIFAR = (StemConv(1.0, 3, 1),)

    def __init__(self, width, convs, pool, norm, **kwargs):
        super().__init__(**kwargs)
        self.convs = [
            Conv(
                max(1, int(width * conv.width_factor)),
                conv.kernel_size,
                conv.strides,
                name=f"conv{index}",
            )
            for index, conv in enumerate(convs)
        ]
        self.norms = [norm(name=f"norm{index}") for index in range(len(convs))]
        self.pool = pool

    def call(self, x, training=False):
        """(output of the last convolution before its batch norm, output of the stem)."""
        for conv, norm in zip(self.convs, self.norms):
            convolved, normalized = conv_and_norm(conv, norm, x, training)
            x = tf.nn.relu(normalized)
        if self.pool:
            x = tf.nn.max_pool2d(x, 3, 2, "SAME")
        return convolved, x


@keras.saving.register_keras_serializable("tf_simclr")
class ResNet(keras.Model):
    """The encoder f: images [B, H, W, 3] in [0, 1] -> dict of its named feature maps.

    The keys are `initial_conv`, `initial_max_pool`, `block_group1` to `block_group4` and
    `final_avg_pool`, the pooled features h [B, C] with C = 512 w, or 2048 w from depth 50 on.

    Args:
        depth: a key of `FAMILY`.
        width: factor on all channels.
        sk_ratio: selective-kernel ratio; 0: none.
        se_ratio: squeeze-and-excite ratio; 0: none.
        image_size: height and width of the images.
        batch_norm_decay: momentum, see `layers.BatchNorm`.
        global_bn: statistics over all replicas, see `layers.BatchNorm`.
        rematerialize: what the gradient computes again instead of keeping it (Chen et al. 2016):
            none; norm: batch norm and ReLU between the convolutions of a block; block: all of a
            block but its input.
        stem: cifar (3x3, stride 1, no pooling), imagenet, or auto: cifar for images of up to 32
            pixels.

    Attributes:
        feature_dim: C.
    """

    def __init__(
        self,
        depth: int = 50,
        width: float = 1.0,
        sk_ratio: float = 0.0,
        se_ratio: float = 0.0,
        image_size: int = 224,
        batch_norm_decay: float = 0.9,
        global_bn: bool = True,
        rematerialize: str = "none",
        stem: str = AUTO,
        name: str = "encoder",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self._init_arguments = {
            "depth": depth,
            "width": width,
            "sk_ratio": sk_ratio,
            "se_ratio": se_ratio,
            "image_size": image_size,
            "batch_norm_decay": batch_norm_decay,
            "global_bn": global_bn,
            "rematerialize": rematerialize,
            "stem": stem,
            "name": name,
        }
        self._rematerialize = rematerialize
        norm = functools.partial(BatchNorm, batch_norm_decay, global_bn)
        self.stem = _make_stem(width, sk_ratio, resolve_stem(stem, image_size), norm)
        block, num_blocks = FAMILY[depth]
        groups = []
        for index, count in enumerate(num_blocks):
            filters = max(1, int(BASE_CHANNELS * width * 2**index))
            make_block = functools.partial(
                block,
                filters,
                sk_ratio=sk_ratio,
                se_ratio=se_ratio,
                norm=norm,
                recomputes_norms=rematerialize == "norm",
            )
            groups.append(_make_group(make_block, index, count))
        self.groups = groups
        self.feature_dim = filters * block.expansion

    @property
    def last_map(self) -> str:
        """The name of the last feature map."""
        return f"block_group{len(self.groups)}"

    @property
    def levels(self) -> list[list]:
        """The variables by depth: those of the stem, and of each group."""
        groups = [[v for block in group for v in block.variables] for group in self.groups]
        return [self.stem.variables, *groups]

    @property
    def not_decayed(self) -> list:
        """The variables that no weight decay is of, besides batch norm and biases."""
        return []

    def call(self, images, training=False):
        initial_conv, x = self.stem(images, training=training)
        endpoints = {"initial_conv": initial_conv, "initial_max_pool": x}
        for number, group in enumerate(self.groups, start=1):
            for block in group:
                if self._rematerialize == "block" and training:
                    x = rematerialized(functools.partial(block, training=True), x)
                else:
                    x = block(x, training=training)
            endpoints[f"block_group{number}"] = x
        endpoints["final_avg_pool"] = tf.reduce_mean(x, [1, 2])  # [B, C]
        return endpoints

    def build(self, shape):
        """Nothing, as in a `Composite`."""

    def build_from_config(self, config):
        """Makes the variables of a model that Keras loads from a file."""
        size = self._init_arguments["image_size"]
        self(tf.zeros([1, size, size, 3]))

    def get_config(self):
        return self._init_arguments

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Also of models that were saved when `rematerialize` was whether blocks are."""
        what = {False: "none", True: "block"}.get(config["rematerialize"], config["rematerialize"])
        return cls(**{**config, "rematerialize": what})

    def freeze(self, after_block: int):
        """Freezes layers, their batch norm statistics included.

        Args:
            after_block: -1: nothing; 0: the stem; k: the stem and the groups 1 to k.
        """
        if after_block >= 0:
            self.stem.trainable = False
        for group in self.groups[: max(after_block, 0)]:
            for block in group:
                block.trainable = False


def _make_stem(width, sk_ratio, stem, norm):
    keeps_resolution = stem == "cifar"
    convs = Stem.SELECTIVE if sk_ratio > 0 else Stem.STANDARD
    if keeps_resolution:
        convs = Stem.CIFAR
    return Stem(BASE_CHANNELS * width, convs, not keeps_resolution, norm, name="stem")


def _make_group(make_block, index, count):
    """The blocks of a group; the first one has a shortcut, and strides but in the first group."""
    group = []
    for number in range(count):
        is_first = number == 0
        strides = 2 if index and is_first else 1
        name = f"group{index + 1}_block{number}"
        group.append(make_block(strides=strides, first=is_first, name=name))
    return group


def build(
    depth: int = 50,
    width: float = 1.0,
    sk_ratio: float = 0.0,
    se_ratio: float = 0.0,
    image_size: int = 224,
    stem: str = AUTO,
) -> keras.Model:
    """The encoder as a plain keras.Model, for anyone's `model.fit`.

    Args:
        depth: 18, 34, 50, 101, 152 or 200.
        width: factor on all channels.
        sk_ratio: selective-kernel ratio; 0: none.
        se_ratio: squeeze-and-excite ratio; 0: none.
        image_size: height and width in pixels.
        stem: see `ResNet`.

    Returns:
        Images [B, H, W, 3] in [0, 1] -> features h [B, C].

    Raises:
        ValueError: a depth that does not exist.
    """
    if depth not in FAMILY:
        accepted = ", ".join(map(str, FAMILY))
        raise ValueError(f"depth={depth}: accepted are {accepted}")
    images = keras.Input((image_size, image_size, 3), name="images")
    encoder = ResNet(depth, width, sk_ratio, se_ratio, image_size, stem=stem)
    features = encoder(images)["final_avg_pool"]
    return keras.Model(images, features, name=f"resnet{depth}")

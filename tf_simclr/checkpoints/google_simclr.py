"""Weights of the original SimCLR release in a network of this package, and of which flags it is.

The original release is Google Research's SimCLR code for TensorFlow 2.
"""

import collections
import math

from tf_simclr.checkpoints.google_layers import (
    KINDS,
    group_layers,
    kernel_shape,
    locate_variable,
)
from tf_simclr.config.published import SK_RATIO
from tf_simclr.models.residual_blocks import BottleneckBlock
from tf_simclr.models.resnet import FAMILY, Stem

WIDTH_OF_STEM = 64  # channels at width 1
# Of the convolutions of a group with selective kernels the one that squeezes: after those of the
# shortcut, of the block's begin and of the two streams.
SQUEEZING_CONVOLUTION = 3
MAX_DECIMALS = 6


def keys(layers: dict, network, variables: list) -> dict[str, str]:
    """The checkpoint keys of a network's variables.

    Args:
        layers: of `google_layers.read`.
        network: `models.network.Network`.
        variables: of the network, that are wanted; its layers without any need not agree.

    Returns:
        {variable path: checkpoint key} of all variables of the layers with one that is wanted.

    Raises:
        ValueError: it is another network; the flags of the right one are in the message.
    """
    matched = {}
    wanted = {v.path for v in variables}
    for network_layer in network.exported_layers():
        has_none = not network_layer.variables  # a projection head without layers
        if not has_none and not any(v.path in wanted for v in network_layer.variables):
            continue
        built_layers = group_layers(
            (locate_variable(network_layer, index, v), v.path, v.shape)
            for index, v in enumerate(network_layer.variables)
        )
        for kind in KINDS:
            saved = layers.get((network_layer.name, kind), [])
            built = built_layers.get((network_layer.name, kind), [])
            if not _agree(network_layer, built, saved):
                raise ValueError(f"it is another network than the flags say; give {flags(layers)}")
            for built_layer, saved_layer in zip(built, saved):
                matched |= _match(built_layer, saved_layer)
    return matched


def _agree(network_layer, built, saved):
    """Whether layers of one kind are the same; of the projection head the first ones suffice."""
    if network_layer.name == "supervised_head":
        return True  # it has as many outputs as there are classes
    compared = saved
    if network_layer.name == "projection_head" and not network_layer.is_whole:
        compared = saved[: len(built)]
    return _signatures(built) == _signatures(compared)


def _signatures(layers):
    """[(block group, {attribute: shape})] of layers, where dense layers are no convolutions."""
    signatures = []
    for layer in layers:
        shapes = {name: _as_dense(shape) for name, (_, shape) in layer.variables.items()}
        signatures.append((layer.group, shapes))
    return signatures


def _as_dense(shape):
    return tuple(shape[2:]) if tuple(shape[:2]) == (1, 1) else tuple(shape)


def _match(built, saved):
    """{variable path: checkpoint key} of one layer."""
    paths = {}
    for attribute, (path, _) in built.variables.items():
        if attribute in saved.variables:
            key, _ = saved.variables[attribute]
            paths[path] = key
    return paths


def num_classes(layers: dict) -> int:
    """Outputs of the linear layer, 0 if there is none."""
    head = layers.get(("supervised_head", "dense"), [])
    return kernel_shape(head[0])[-1] if head else 0


def flags(layers: dict) -> str:
    """The encoder and the heads as flags."""
    convolutions = layers.get(("encoder", "convolution"), [])
    groups = collections.defaultdict(list)
    for layer in convolutions:
        groups[layer.group].append(layer)
    if not groups[0]:
        return "a network with a stem"
    width = kernel_shape(groups[0][-1])[-1] / WIDTH_OF_STEM
    texts = [
        *_depth_flags([len(groups[group]) for group in range(1, 5)]),
        f"--width_multiplier={width:g}",
        f"--sk_ratio={_sk_ratio(groups):g}",
        f"--se_ratio={_se_ratio(layers, width):g}",
        f"--stem={stem(layers)}",
        *_head_flags(layers),
    ]
    return " ".join(texts)


def _depth_flags(counts):
    """The flag of depth by the number of convolutions of each group; none fits a depth."""
    for depth, (block, num_blocks) in FAMILY.items():
        for num_convolutions in _convolutions_of_block(block):
            # Each group has the convolution of a shortcut, too.
            if counts[: len(num_blocks)] == [num_convolutions * count + 1 for count in num_blocks]:
                return [f"--resnet_depth={depth}"]
    return []


def _convolutions_of_block(block):
    """How many it may have: a selective kernel has two more."""
    return (3, 5) if block is BottleneckBlock else (2,)


def _sk_ratio(groups):
    """The selective-kernel ratio; 0: none."""
    pairs = []
    for group, convolutions in groups.items():
        if group and len(convolutions) > SQUEEZING_CONVOLUTION:
            height, _, filters, squeezed = kernel_shape(convolutions[SQUEEZING_CONVOLUTION])
            _, _, inputs, streams = kernel_shape(convolutions[SQUEEZING_CONVOLUTION - 1])
            is_squeeze = height == 1 and streams == 2 * inputs == 2 * filters
            pairs += [(squeezed, filters)] if is_squeeze else []
    if not pairs:
        return 0
    # There are at least so many squeezed channels as in small groups.
    fewest = min(squeezed for squeezed, _ in pairs)
    larger = [(squeezed, filters) for squeezed, filters in pairs if squeezed > fewest]
    return _ratio(larger) if larger else SK_RATIO


def _se_ratio(layers, width):
    """The squeeze-and-excite ratio; 0: none."""
    squeezes = layers.get(("encoder", "dense"), [])[::2]
    pairs = []
    for layer in squeezes:
        filters = int(WIDTH_OF_STEM * 2 ** (layer.group - 1) * width)
        pairs.append((kernel_shape(layer)[-1], filters))
    return _ratio(pairs) if pairs else 0


def _ratio(pairs):
    """The simplest number that gives `squeezed` = int(`filters` * number) in all pairs."""
    low = max(squeezed / filters for squeezed, filters in pairs)
    high = min((squeezed + 1) / filters for squeezed, filters in pairs)
    if (1 / low).is_integer():
        return low
    for decimals in range(1, MAX_DECIMALS):
        number = math.ceil(low * 10**decimals) / 10**decimals
        if number < high:
            return number
    return low


def _head_flags(layers):
    head = layers.get(("projection_head", "dense"), [])
    if not head:
        return ["--proj_head_mode=none"]
    return [f"--num_proj_layers={len(head)}", f"--proj_out_dim={kernel_shape(head[-1])[-1]}"]


def stem(layers: dict) -> str:
    """Which stem it has, as a value of --stem."""
    convolutions = layers.get(("encoder", "convolution"), [])
    kernels = [kernel_shape(layer) for layer in convolutions if layer.group == 0]
    return stem_of_kernels(kernels)


def stem_of_kernels(shapes: list) -> str:
    """Which stem has these kernels, as a value of --stem.

    Args:
        shapes: [height, width, ...] of each.
    """
    is_single = len(shapes) == 1
    return "cifar" if is_single and shapes[0][0] == Stem.CIFAR[0].kernel_size else "imagenet"

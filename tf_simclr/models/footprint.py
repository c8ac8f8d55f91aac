"""How many numbers an encoder keeps of an image for the gradient, from its layers alone.

Nothing is computed, and of a ResNet no variable is made: it is known before memory is taken.
"""

import dataclasses
import math

from tf_simclr.models.lab import LabEncoder
from tf_simclr.models.layers import num_parameters
from tf_simclr.models.published import PublishedEncoder
from tf_simclr.models.residual_blocks import ConvNorm
from tf_simclr.models.resnet import ResNet

COLORS = 3


@dataclasses.dataclass(frozen=True)
class Footprint:
    """Numbers, not bytes; what is small beside them is left out.

    Attributes:
        weights: of the convolutions.
        kept: of one image until the backward pass is done.
        largest_map: of one image, the output of one convolution.
    """

    weights: int
    kept: int
    largest_map: int


@dataclasses.dataclass(frozen=True)
class _Part:
    """The stem, or a block.

    Attributes:
        weights: of its convolutions.
        kept: of one image, with the output.
        output: numbers of its output.
        maps: numbers of the output of each convolution.
    """

    weights: int
    kept: int
    output: int
    maps: tuple[int, ...]

    def kept_with(self, rematerialize):
        """Numbers that are kept of one image with this --rematerialize."""
        if rematerialize == "block":
            return self.output
        if rematerialize == "norm":
            return sum(self.maps) + self.output
        return self.kept


def of(
    encoder: ResNet | LabEncoder | PublishedEncoder,
    image_size: int,
    *,
    first_trained: int,
    rematerialize: str,
) -> Footprint:
    """What a training step of an encoder takes at least.

    Args:
        encoder: whose variables need not exist.
        image_size: height and width of what it sees.
        first_trained: 0: all is trained; k: the stem and the groups before k are frozen; more than
            the number of groups: all is.
        rematerialize: value of that flag.
    """
    if isinstance(encoder, PublishedEncoder):
        return _of_published(encoder, first_trained)
    resnets = [(encoder, COLORS)]
    if isinstance(encoder, LabEncoder):
        resnets = [(encoder.lightness, 1), (encoder.color, COLORS - 1)]
    footprints = [
        _of_resnet(
            resnet, image_size, channels, first_trained=first_trained, rematerialize=rematerialize
        )
        for resnet, channels in resnets
    ]
    return Footprint(
        weights=sum(each.weights for each in footprints),
        kept=sum(each.kept for each in footprints),
        largest_map=max(each.largest_map for each in footprints),
    )


def _of_resnet(encoder, image_size, channels, *, first_trained, rematerialize):
    """Of a ResNet that sees so many channels of an image."""
    input_size = channels * image_size**2
    side, channels, stem = _stem(encoder.stem, image_size, channels)
    stem = dataclasses.replace(stem, kept=stem.kept + input_size)
    parts = [stem]
    kept = 0 if first_trained else stem.kept
    for number, group in enumerate(encoder.groups, 1):
        for block in group:
            strides = block.shortcut.strides if block.shortcut else 1
            side = -(-side // strides)
            part, channels = _block(block, side, channels)
            parts.append(part)
            if number >= first_trained:
                kept += part.kept_with(rematerialize)
    return Footprint(
        weights=sum(part.weights for part in parts),
        kept=kept,
        largest_map=max(max(part.maps) for part in parts),
    )


def _of_published(encoder, first_trained):
    """Of its outermost layers with variables; a bound that is far too low of a transformer."""
    sizes = [COLORS * encoder.image_size**2]
    for layer in encoder.features.layers:
        if layer.variables:
            output = layer.output[0] if isinstance(layer.output, (list, tuple)) else layer.output
            sizes.append(math.prod(side or 1 for side in output.shape[1:]))
    kept = 0 if first_trained else sum(sizes)
    return Footprint(num_parameters(encoder), kept, max(sizes))


def _stem(stem, image_size, channels):
    """(side of its output, channels of it, `_Part`) of what sees so many channels of an image."""
    side = image_size
    weights, kept, maps = 0, 0, []
    for conv in stem.convs:
        side = -(-side // conv.strides)
        weights += conv.kernel_size**2 * channels * conv.filters
        channels = conv.filters
        maps.append(side**2 * channels)
        kept += 2 * maps[-1]  # before and after batch norm and ReLU
    if stem.pool:
        side = -(-side // 2)
        kept += side**2 * channels
    return side, channels, _Part(weights, kept, side**2 * channels, tuple(maps))


def _block(block, side, channels):
    """(`_Part`, channels of the output); all maps count as if they had the output's side."""
    weights, kept, maps = 0, 0, []
    inputs = channels
    if block.shortcut:
        project = block.shortcut.project
        weights += channels * project.conv.filters
        maps.append(side**2 * project.conv.filters)
        kept += maps[-1]
    for layer in block.branch:
        unit = layer if isinstance(layer, ConvNorm) else layer.streams
        weights += unit.conv.kernel_size**2 * inputs * unit.conv.filters
        maps.append(side**2 * unit.conv.filters)
        kept += maps[-1] * (2 if unit.relu else 1)
        # A selective kernel makes one stream of two.
        inputs = unit.conv.filters if unit is layer else unit.conv.filters // 2
    output = side**2 * inputs
    return _Part(weights, kept + output, output, tuple(maps)), inputs

"""How a published backbone is divided by depth: into levels, stem and four groups."""

import dataclasses
import itertools

import keras

NUM_GROUPS = 4
STEM = "stem"  # of the pyramid of a keras-hub backbone: before its first block


@dataclasses.dataclass(frozen=True)
class Structure:
    """How a backbone is divided by depth.

    Attributes:
        levels: the layers with variables, from the input to the output: of a transformer the
            embedding and each block, of other networks the first layer and four groups.
        group_ends: number of levels up to the stem, and up to each of the four groups.
        groups: {name of an endpoint: symbolic tensor} of the groups before the last.
    """

    levels: list[list[keras.layers.Layer]]
    group_ends: list[int]
    groups: dict[str, keras.KerasTensor]


def divide(backbone: keras.Model) -> Structure:
    """How a backbone is divided by depth."""
    pyramid = dict(getattr(backbone, "pyramid_outputs", {}))
    pyramid.pop(STEM, None)
    groups = _groups(list(pyramid.values()))
    weighted = _weighted_layers(backbone)
    if any(_blocks(layer) for layer in weighted):
        levels = _levels_of_blocks(weighted)
        num_blocks = len(levels) - 1
        shares = [number / NUM_GROUPS for number in range(NUM_GROUPS + 1)]
        ends = [1 + round(share * num_blocks) for share in shares]
        return Structure(levels, ends, groups)
    rest = weighted[1:]
    levels = _levels_of_groups(backbone, rest, groups) if groups else _quarters(rest)
    return Structure([weighted[:1], *levels], list(range(1, NUM_GROUPS + 2)), groups)


def _groups(outputs):
    """{name: tensor} of the outputs at a quarter, a half and three quarters of the blocks."""
    count = len(outputs)
    if count < NUM_GROUPS:  # the last of them is the output
        names = [f"block_group{NUM_GROUPS - count + index}" for index in range(1, count)]
        return dict(zip(names, outputs))
    groups = {}
    for number in range(1, NUM_GROUPS):
        groups[f"block_group{number}"] = outputs[round(number * count / NUM_GROUPS) - 1]
    return groups


def _levels_of_groups(backbone, layers, groups):
    """Four levels: each has the layers that the output of its group needs, the last the rest."""
    levels = []
    for number in range(1, NUM_GROUPS):
        needed = set()
        output = groups.get(f"block_group{number}")
        if output is not None:
            needed = {id(layer) for layer in keras.Model(backbone.inputs[0], output).layers}
        levels.append([layer for layer in layers if id(layer) in needed])
        layers = [layer for layer in layers if id(layer) not in needed]
    return [*levels, layers]


def _quarters(layers):
    """Four levels with as many layers each, as far as that is possible."""
    ends = [round(number * len(layers) / NUM_GROUPS) for number in range(NUM_GROUPS + 1)]
    return [layers[start:end] for start, end in itertools.pairwise(ends)]


def _weighted_layers(model):
    """The outermost layers with variables; of a model that wraps another one those inside."""
    layers = [layer for layer in model.layers if layer.variables]
    if len(layers) == 1 and isinstance(layers[0], keras.Model):
        return _weighted_layers(layers[0])
    return layers


def _inner(layer):
    return [each for each in layer._flatten_layers(False, False) if each.variables]


def _blocks(layer):
    """The blocks of a transformer's encoder: two or more layers of a kind, made of layers."""
    by_kind = {}
    for inner in _inner(layer):
        if _inner(inner):
            by_kind.setdefault(type(inner), []).append(inner)
    blocks = max(by_kind.values(), key=len, default=[])
    return blocks if len(blocks) > 1 else []


def _levels_of_blocks(layers):
    """Layers by depth, where those that are no block are of the level before."""
    levels = [[]]
    for layer in layers:
        blocks = _blocks(layer)
        block_ids = {id(block) for block in blocks}
        for inner in _inner(layer) if blocks else [layer]:
            if id(inner) in block_ids:
                levels.append([])
            levels[-1].append(inner)
    return levels

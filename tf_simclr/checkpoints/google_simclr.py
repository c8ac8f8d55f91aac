"""Weights of Google Research's SimCLR code for TensorFlow 2: its SavedModels and its training checkpoints.

Their variables are told apart by what they are (convolution, batch norm, dense), where they are (stem, block group,
heads) and in which order they were made: the numbers in their names count on over a whole process and mean nothing else.
"""

import collections
import re

from tensorflow.core.protobuf import trackable_object_graph_pb2

from tf_simclr.models.resnet import FAMILY, BottleneckBlock

ATTRIBUTES = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
PARTS = {  # {first component of a variable's name or attribute in the model: our part}
    "resnet": "encoder",
    "resnet_model": "encoder",
    "projection_head": "projection_head",
    "_projection_head": "projection_head",
    "head_supervised": "supervised_head",
    "supervised_head": "supervised_head",
}
SHORTCUTS = ("projection_layers", "shortcut_layers")  # made before the branch beside them
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"

Layer = collections.namedtuple(
    "Layer", "place order variables"
)  # variables: {attribute: (key or variable path, shape)}


def read(reader):
    """The layers that a checkpoint of that code holds, {(part, kind): [Layer]} in their order; None if it is not one.

    Args:
        reader: of `tf.train.load_checkpoint`; of a SavedModel, its `variables/variables`.

    Raises:
        ValueError: a variable of the network that has no place in ours.
    """
    shapes = reader.get_variable_to_shape_map()
    if _GRAPH not in shapes:
        return None
    graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(reader.get_tensor(_GRAPH))
    found = [
        (value.full_name, value.checkpoint_key)
        for node in graph.nodes
        for value in node.attributes
        if value.name == "VARIABLE_VALUE"
    ]
    model = [
        (name, key)
        for name, key in found
        if ".OPTIMIZER_SLOT" not in key
        and not re.match(r"(optimizer|global_step|save_counter)\b", key)
    ]
    # All by key, or, where a SavedModel of a Keras model lists variables by number instead, all by name.
    entries, _, shown = min(
        (
            (by, sum(entry is None for entry in by), shown)
            for by, shown in (
                (
                    [_of_key(key.split("/.ATTRIBUTES")[0]) for _, key in model],
                    [key for _, key in model],
                ),
                ([_of_name(name) for name, _ in model], [name for name, _ in model]),
            )
        ),
        key=lambda found: found[1],
    )
    if not any(entry and entry[0] == "encoder" for entry in entries):
        return None
    strange = [name for entry, name in zip(entries, shown) if entry is None]
    if strange:
        raise ValueError(
            f"{strange[0]} and {len(strange) - 1} more variables there have no place in a network of this package"
        )
    return _layers((*entry, key, shapes[key]) for entry, (_, key) in zip(entries, model))


def keys(layers, network):
    """{variable path: checkpoint key} of all variables of `network` (models.network.Network) that the layers of `read` have.

    Raises:
        ValueError: the encoder is another one, or a layer has more variables than ours.
    """
    matched = {}
    for part in network.exported_layers():
        ours = _layers(_of_variable(part, index, v) for index, v in enumerate(part.variables))
        for kind in ("convolution", "batch norm", "dense"):
            mine, theirs = ours.get((part.name, kind), []), layers.get((part.name, kind), [])
            if part.name == "encoder" and [layer.place for layer in mine] != [
                layer.place for layer in theirs
            ]:
                raise ValueError(f"there is {describe(layers)}")
            for a, b in zip(
                mine, theirs
            ):  # fine-tuning keeps the first layers of the head only; missing ones are named by who reads
                strange = [name for name in b.variables if name not in a.variables]
                if strange:
                    raise ValueError(f"{b.variables[strange[0]][0]} has no place here")
                matched |= {
                    path: b.variables[name][0]
                    for name, (path, _) in a.variables.items()
                    if name in b.variables
                }
    return matched


def num_classes(layers):
    """Outputs of the linear layer, 0 if there is none."""
    found = layers.get(("supervised_head", "dense"), [])
    return found[0].variables["kernel"][1][-1] if found else 0


def describe(layers):
    """The encoder and the head in words and as flags."""
    convolutions = layers.get(("encoder", "convolution"), [])
    groups = [sum(layer.place == g for layer in convolutions) for g in range(5)]
    if not groups[0]:
        return "a network without stem"
    stem = convolutions[groups[0] - 1].variables["kernel"][1]  # the last convolution of the stem
    head = layers.get(("projection_head", "dense"), [])
    flags = [f"--width_multiplier={stem[-1] / 64:g}"]
    for depth, (block, counts) in FAMILY.items():
        for ratio in ("0", "0.0625") if block is BottleneckBlock else ("0",):
            inside = (5 if ratio != "0" else 3) if block is BottleneckBlock else 2
            if groups[1:] == [inside * count + 1 for count in counts]:
                flags += [f"--resnet_depth={depth}", f"--sk_ratio={ratio}"]
    flags.append(
        f"--image_size={'32 (or less)' if groups[0] == 1 and stem[0] == 3 else '224 (any above 32)'}"
    )
    flags.append(f"--num_proj_layers={len(head)}" if head else "--proj_head_mode=none")
    return "a network of other flags: " + " ".join(flags)


def _layers(entries):
    """{(part, kind): [Layer] in order} of (part, place, order, layer, attribute, key, shape)s."""
    layers, kinds = {}, {}
    for part, place, order, name, attribute, key, shape in entries:
        layers.setdefault((part, name), Layer(place, order, {})).variables[attribute] = (
            key,
            tuple(shape),
        )
    for (part, _), layer in layers.items():
        if not {"gamma", "kernel"} & {*layer.variables}:
            raise ValueError(
                f"{next(iter(layer.variables.values()))[0]} has neither gamma nor kernel beside it"
            )
        kind = (
            "batch norm"
            if "gamma" in layer.variables
            else "convolution"
            if len(layer.variables["kernel"][1]) == 4
            else "dense"
        )
        kinds.setdefault((part, kind), []).append(layer)
    return {kind: sorted(found, key=lambda layer: layer.order) for kind, found in kinds.items()}


def _of_variable(part, index, v):
    layer, attribute = v.path.rsplit("/", 1)
    group = re.search(r"/group(\d)_", v.path)
    return part.name, int(group[1]) if group else 0, index, layer, attribute, v.path, v.shape


def _of_name(name):
    """resnet/block_group1/bottleneck_block_1/conv2d_fixed_padding_5/conv2d_5/kernel: (part, place, order, layer, attribute), None if it is none."""
    components = [_numbered(component) for component in name.split("/")]
    part, attribute = (
        next((PARTS[base] for base, _ in components if base in PARTS), None),
        name.rsplit("/", 1)[-1],
    )
    if part is None or attribute not in ATTRIBUTES or len(components) < 3:
        return None
    group = next(
        (int(base[-1]) for base, _ in components if re.fullmatch(r"block_group\d", base)), 0
    )
    return part, group, components[-2][1], name.rsplit("/", 1)[0], attribute


def _of_key(key):
    """model/resnet_model/block_groups/0/layers/1/conv_relu_dropblock_layers/0/conv2d/kernel, likewise."""
    *above, attribute = key.split("/")
    start = next((i for i, component in enumerate(above) if component in PARTS), None)
    if start is None or attribute not in ATTRIBUTES:
        return None
    inside = above[start + 1 :]
    group = int(inside[1]) + 1 if inside[:1] == ["block_groups"] else 0
    order = (
        group,
        *((component not in SHORTCUTS, _numbered(component)[1]) for component in inside),
    )
    return PARTS[above[start]], group, order, "/".join(above), attribute


def _numbered(component):
    """'conv2d_5' -> ('conv2d', 5); without a number it is the first, -1; '5' -> ('', 5)."""
    alone, base, number = re.fullmatch(r"(\d+)|(.*?)(?:_(\d+))?", component).groups()
    return base or "", int(alone or number or -1)

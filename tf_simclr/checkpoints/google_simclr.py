"""Weights of the original SimCLR release: its SavedModels and its training checkpoints.

The original release is Google Research's SimCLR code for TensorFlow 2. Its variables are told apart
by what they are (convolution, batch norm, dense), where they are (stem, block group, heads) and in
which order they were made: the numbers in their names count on over a whole process and mean
nothing else.
"""

import collections
import re

from tensorflow.core.protobuf import trackable_object_graph_pb2

from tf_simclr.models.resnet import FAMILY, BottleneckBlock, Stem

ATTRIBUTES = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
# {first component of a variable's name, or attribute in the model: our layer}
NETWORK_LAYERS = {
    "resnet": "encoder",
    "resnet_model": "encoder",
    "projection_head": "projection_head",
    "_projection_head": "projection_head",
    "head_supervised": "supervised_head",
    "supervised_head": "supervised_head",
}
SHORTCUTS = ("projection_layers", "shortcut_layers")  # made before the branch beside them
KINDS = ("convolution", "batch norm", "dense")
GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
NOT_OF_THE_MODEL = re.compile(r"(optimizer|global_step|save_counter)\b")
WIDTH_OF_STEM = 64  # channels at width 1

# group: 0 for the stem and heads, 1 to 4 for block groups. order: by which layers of a kind are
# sorted. variables: {attribute: (checkpoint key or variable path, shape)}.
Layer = collections.namedtuple("Layer", "group order variables")
# Where a variable is, of which layer it is, and which one of the layer's variables.
Location = collections.namedtuple("Location", "network_layer group order layer attribute")


def read(reader) -> dict | None:
    """The layers that a checkpoint of the original release holds.

    Args:
        reader: of `tf.train.load_checkpoint`; of a SavedModel, its `variables/variables`.

    Returns:
        {(our layer, kind): [Layer] in their order}; None if it is not such a checkpoint.

    Raises:
        ValueError: a variable of the network that has no place in ours.
    """
    shapes = reader.get_variable_to_shape_map()
    if GRAPH_KEY not in shapes:
        return None
    variables = _model_variables(reader)
    keys = [key for _, key in variables]
    labels = keys
    locations = [_locate_by_key(key.split("/.ATTRIBUTES")[0]) for key in keys]
    # A SavedModel of a Keras model may list variables by number instead: then by name.
    names = [name for name, _ in variables]
    locations_by_name = [_locate_by_name(name) for name in names]
    if locations_by_name.count(None) < locations.count(None):
        locations, labels = locations_by_name, names
    has_encoder = any(
        location is not None and location.network_layer == "encoder" for location in locations
    )
    if not has_encoder:
        return None
    unknown = [label for label, location in zip(labels, locations) if location is None]
    if unknown:
        raise ValueError(
            f"{unknown[0]} and {len(unknown) - 1} more variables there have no place in a network "
            "of this package"
        )
    return _group_layers((location, key, shapes[key]) for location, key in zip(locations, keys))


def _model_variables(reader):
    """[(name, checkpoint key)] of the variables that are no state of the training."""
    graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(reader.get_tensor(GRAPH_KEY))
    variables = []
    for node in graph.nodes:
        for value in node.attributes:
            key = value.checkpoint_key
            is_variable = value.name == "VARIABLE_VALUE"
            is_state = ".OPTIMIZER_SLOT" in key or NOT_OF_THE_MODEL.match(key)
            if is_variable and not is_state:
                variables.append((value.full_name, key))
    return variables


def keys(layers: dict, network) -> dict[str, str]:
    """The checkpoint keys of a network's variables.

    Args:
        layers: of `read`.
        network: `models.network.Network`.

    Returns:
        {variable path: checkpoint key} of all variables that the layers have.

    Raises:
        ValueError: the encoder is another one, or a layer has more variables than ours.
    """
    matched = {}
    for network_layer in network.exported_layers():
        network_layers = _group_layers(
            (_locate_variable(network_layer, index, v), v.path, v.shape)
            for index, v in enumerate(network_layer.variables)
        )
        for kind in KINDS:
            saved = layers.get((network_layer.name, kind), [])
            built = network_layers.get((network_layer.name, kind), [])
            groups_agree = [layer.group for layer in built] == [layer.group for layer in saved]
            if network_layer.name == "encoder" and not groups_agree:
                raise ValueError(f"there is {describe(layers)}")
            # Fine-tuning keeps the first layers of the head only; missing ones are named by the
            # function that reads the values.
            for built_layer, saved_layer in zip(built, saved):
                matched |= _match(built_layer, saved_layer)
    return matched


def _match(built, saved):
    """{variable path: checkpoint key} of one layer."""
    for attribute, (key, _) in saved.variables.items():
        if attribute not in built.variables:
            raise ValueError(f"{key} has no place here")
    paths = {}
    for attribute, (path, _) in built.variables.items():
        if attribute in saved.variables:
            key, _ = saved.variables[attribute]
            paths[path] = key
    return paths


def num_classes(layers: dict) -> int:
    """Outputs of the linear layer, 0 if there is none."""
    head = layers.get(("supervised_head", "dense"), [])
    return _kernel_shape(head[0])[-1] if head else 0


def _kernel_shape(layer):
    _, shape = layer.variables["kernel"]
    return shape


def describe(layers: dict) -> str:
    """The encoder and the head in words and as flags."""
    convolutions = layers.get(("encoder", "convolution"), [])
    counts = collections.Counter(layer.group for layer in convolutions)
    if not counts[0]:
        return "a network without stem"
    stem_shape = _kernel_shape(convolutions[counts[0] - 1])  # of its last convolution
    flags = [f"--width_multiplier={stem_shape[-1] / WIDTH_OF_STEM:g}"]
    flags += _depth_flags([counts[group] for group in range(1, 5)])
    flags.append(f"--stem={stem(layers)}")
    head = layers.get(("projection_head", "dense"), [])
    flags.append(f"--num_proj_layers={len(head)}" if head else "--proj_head_mode=none")
    return "a network of other flags: " + " ".join(flags)


def stem(layers: dict) -> str:
    """Which stem it has, as a value of --stem."""
    convolutions = layers.get(("encoder", "convolution"), [])
    kernels = [_kernel_shape(layer) for layer in convolutions if layer.group == 0]
    return stem_of_kernels(kernels)


def stem_of_kernels(shapes: list) -> str:
    """Which stem has these kernels, as a value of --stem.

    Args:
        shapes: [height, width, ...] of each.
    """
    is_single = len(shapes) == 1
    return "cifar" if is_single and shapes[0][0] == Stem.CIFAR[0].kernel_size else "imagenet"


def _depth_flags(counts):
    """The flags of depth and selective kernels by the number of convolutions of each group."""
    flags = []
    for depth, (block, num_blocks) in FAMILY.items():
        is_bottleneck = block is BottleneckBlock
        convolutions_by_ratio = {"0": 3, "0.0625": 5} if is_bottleneck else {"0": 2}
        for ratio, num_convolutions in convolutions_by_ratio.items():
            # Each group has the convolution of a shortcut, too.
            if counts == [num_convolutions * blocks + 1 for blocks in num_blocks]:
                flags += [f"--resnet_depth={depth}", f"--sk_ratio={ratio}"]
    return flags


def _group_layers(variables):
    """{(our layer, kind): [Layer] in order} of (location, key or path, shape)s."""
    layers = {}
    for location, key, shape in variables:
        name = location.network_layer, location.layer
        layer = layers.setdefault(name, Layer(location.group, location.order, {}))
        layer.variables[location.attribute] = key, tuple(shape)
    kinds = {}
    for (network_layer, _), layer in layers.items():
        kinds.setdefault((network_layer, _kind(layer)), []).append(layer)
    return {
        name: sorted(same_kind, key=lambda layer: layer.order) for name, same_kind in kinds.items()
    }


def _kind(layer):
    if "gamma" in layer.variables:
        return "batch norm"
    if "kernel" not in layer.variables:
        key, _ = next(iter(layer.variables.values()))
        raise ValueError(f"{key} has neither gamma nor kernel beside it")
    return "convolution" if len(_kernel_shape(layer)) == 4 else "dense"


def _locate_variable(network_layer, index, v):
    """The location of a variable of ours."""
    layer, attribute = v.path.rsplit("/", 1)
    group = re.search(r"/group(\d)_", v.path)
    return Location(network_layer.name, int(group[1]) if group else 0, index, layer, attribute)


def _locate_by_name(name):
    """The location of a variable by its name.

    For example resnet/block_group1/bottleneck_block_1/conv2d_fixed_padding_5/conv2d_5/kernel. None
    if it is no variable of the network.
    """
    components = [_split_number(component) for component in name.split("/")]
    layer, _, attribute = name.rpartition("/")
    network_layer = None
    group = 0
    for base, _ in components:
        if network_layer is None:
            network_layer = NETWORK_LAYERS.get(base)
        if not group and re.fullmatch(r"block_group\d", base):
            group = int(base[-1])
    if network_layer is None or attribute not in ATTRIBUTES or len(components) < 3:
        return None
    _, order = components[-2]
    return Location(network_layer, group, order, layer, attribute)


def _locate_by_key(key):
    """The location of a variable by its key in an object-based checkpoint.

    For example resnet_model/block_groups/0/layers/1/conv_relu_dropblock_layers/0/conv2d/kernel.
    None if it is no variable of the network.
    """
    *above, attribute = key.split("/")
    start = next((i for i, component in enumerate(above) if component in NETWORK_LAYERS), None)
    if start is None or attribute not in ATTRIBUTES:
        return None
    inside = above[start + 1 :]
    is_in_group = inside[:1] == ["block_groups"]
    group = int(inside[1]) + 1 if is_in_group else 0
    order = [group]
    for component in inside:
        _, number = _split_number(component)
        order.append((component not in SHORTCUTS, number))
    network_layer = NETWORK_LAYERS[above[start]]
    return Location(network_layer, group, tuple(order), "/".join(above), attribute)


def _split_number(component):
    """'conv2d_5' -> ('conv2d', 5); without a number it is the first, -1; '5' -> ('', 5)."""
    if re.fullmatch(r"\d+", component):
        return "", int(component)
    base, number = re.fullmatch(r"(.*?)(?:_(\d+))?", component).groups()
    return base or "", int(number or -1)

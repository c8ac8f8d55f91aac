"""Which layers a checkpoint or SavedModel of the original SimCLR release holds.

The original release is Google Research's SimCLR code for TensorFlow 2. Its variables are told apart
by what they are (convolution, batch norm, dense), where they are (stem, block group, heads) and in
which order they were made: the numbers in their names count on over a whole process and mean
nothing else.
"""

import collections
import re

from tensorflow.core.protobuf import trackable_object_graph_pb2

KINDS = ("convolution", "batch norm", "dense")
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
SECOND_GATES = ("se_expand",)  # reads what se_reduce gives, beside which it is
GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
NOT_OF_THE_MODEL = re.compile(r"(optimizer|global_step|save_counter)\b")

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
    return group_layers((location, key, shapes[key]) for location, key in zip(locations, keys))


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


def kernel_shape(layer: Layer) -> tuple[int, ...]:
    """The shape of the kernel of a layer that has one."""
    _, shape = layer.variables["kernel"]
    return shape


def group_layers(variables):
    """{(our layer, kind): [Layer] in order} of (`Location`, key or path, shape)s."""
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
    """Which of `KINDS` a layer is.

    The gates of squeeze-and-excite are 1x1 convolutions there, the only ones with a bias. They see
    one pixel, so they are dense layers, as here.
    """
    if "gamma" in layer.variables:
        return "batch norm"
    if "kernel" not in layer.variables:
        key, _ = next(iter(layer.variables.values()))
        raise ValueError(f"{key} has neither gamma nor kernel beside it")
    is_convolution = len(kernel_shape(layer)) == 4 and "bias" not in layer.variables
    return "convolution" if is_convolution else "dense"


def locate_variable(network_layer, index: int, v) -> Location:
    """The location of a variable of a network of this package.

    Args:
        network_layer: which of the network's layers has it.
        index: among the variables of that layer.
        v: the variable.
    """
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
        order.append((component not in SHORTCUTS, number, component in SECOND_GATES))
    network_layer = NETWORK_LAYERS[above[start]]
    return Location(network_layer, group, tuple(order), "/".join(above), attribute)


def _split_number(component):
    """'conv2d_5' -> ('conv2d', 5); without a number it is the first, -1; '5' -> ('', 5)."""
    if re.fullmatch(r"\d+", component):
        return "", int(component)
    base, number = re.fullmatch(r"(.*?)(?:_(\d+))?", component).groups()
    return base or "", int(number or -1)

"""Where the time of a training step goes, by kind of operation.

    python -m benchmarks.profile [--precision=bfloat16] [--depth=50 --image_size=224 --batch=8]

The times are those of TensorFlow's profiler, summed over the threads: operations that run side by
side both count, so they are compared with each other, not with the clock.
"""

import collections
import pathlib
import re
import tempfile

from benchmarks import training
from tf_simclr.training.optimizers import OPTIMIZER_NAME

GRADIENT_OF_KERNEL = "convolution, gradient of the kernel"
GRADIENT_OF_INPUT = "convolution, gradient of the input"
# {prefix of the type of an operation, without that of oneDNN's kernels: kind}; the first match
# counts.
KINDS = {
    "Conv2DBackpropFilter": GRADIENT_OF_KERNEL,
    "Conv2DBackpropInput": GRADIENT_OF_INPUT,
    "Conv2D": "convolution",
    "FusedConv2D": "convolution",
    "FusedBatchNormGrad": "batch norm, gradient",
    "FusedBatchNorm": "batch norm",
    "BatchMatMul": "matrix products",
    "MatMul": "matrix products",
    "FusedMatMul": "matrix products",
    "Relu": "ReLU and its gradient",
    "AddN": "sums of gradients and of branches",
    "AddV2": "sums of gradients and of branches",
    "MaxPool": "pooling",
    "Pad": "padding",
    "Cast": "casts",
    "Transpose": "transposed copies",
    "StridedSlice": "slices",
}
ONEDNN_PREFIX = re.compile(r"^_Mkl(Native)?")
REST = "the rest"


def kind_of(name: str) -> str:
    """The kind of an operation that the profiler calls `NAME:TYPE`."""
    name, _, op_type = name.rpartition(":")
    if name.startswith(OPTIMIZER_NAME):
        return "optimizer"
    op_type = ONEDNN_PREFIX.sub("", op_type).removeprefix("_")
    for prefix, kind in KINDS.items():
        if op_type.startswith(prefix):
            return kind
    return REST


def operations(folder: str) -> dict[str, float]:
    """{`NAME:TYPE`: seconds} of all operations in a trace of TensorFlow's profiler."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    (path,) = pathlib.Path(folder).rglob("*.xplane.pb")
    trace = xplane_pb2.XSpace.FromString(path.read_bytes())
    seconds = collections.Counter()
    for plane in trace.planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                if is_operation(name):
                    seconds[name] += event.duration_ps / 1e12
    return seconds


def is_operation(name: str) -> bool:
    """Whether an event of the profiler is one: the others are of the runtime, around operations."""
    _, colon, op_type = name.rpartition(":")
    return bool(colon) and not op_type.startswith((":", " ")) and "::" not in name


def main():
    options = training.network_parser(__doc__).parse_args()
    step, _ = training.make_step("ours", options)
    training.timed(step, options.warm_up)

    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            durations = training.timed(step, options.steps)
        by_name = operations(folder)
    kinds = collections.Counter()
    for name, seconds in by_name.items():
        kinds[kind_of(name)] += seconds
    total = sum(kinds.values())
    flags = f"accumulate_steps {options.accumulate_steps}, rematerialize {options.rematerialize}"
    print(
        f"ResNet-{options.depth} {options.width:g}x, {options.image_size} pixels, batch "
        f"{options.batch} of two views, {options.precision}, {flags}: "
        f"{sum(durations) / options.steps:.2f} s a step by the clock, {total / options.steps:.2f} "
        "s in operations\n"
    )
    print("| operation | share |\n|---|--:|")
    for kind, seconds in kinds.most_common():
        print(f"| {kind} | {100 * seconds / total:.1f}% |")


if __name__ == "__main__":
    main()

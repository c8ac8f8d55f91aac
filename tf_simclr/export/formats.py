"""TFLite and ONNX files of the classifier and of the embedding.

Each is compared with the SavedModel before it is kept.
"""

import dataclasses
import importlib.util
import logging as std_logging
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr.checkpoints.storage import first_line
from tf_simclr.errors import Failed, UserError

OUTPUTS = {"classifier": "probabilities", "embedding": "embedding"}  # {name of the file: output}
# Greatest difference of a float32 file's output, relative to the greatest value where that is
# above 1.
TOLERANCE = 1e-4
OPSET = 17


def write_tflite(function, path):
    """TFLite in float32: images [B, S, S, 3] -> the output."""
    _convert_to_tflite(function, path, [])


def write_tflite_int8(function, path):
    """TFLite with weights of 8 bits, dynamic range: a quarter of the size."""
    _convert_to_tflite(function, path, [tf.lite.Optimize.DEFAULT])


def _convert_to_tflite(function, path, optimizations):
    concrete = function.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], function)
    converter.optimizations = optimizations
    path.write_bytes(converter.convert())


def write_onnx(function, path):
    """ONNX: images [B, S, S, 3] -> the output."""
    import tf2onnx

    std_logging.getLogger("tf2onnx").setLevel(std_logging.ERROR)
    tf2onnx.convert.from_function(
        function,
        input_signature=function.input_signature,
        opset=OPSET,
        output_path=str(path),
    )


def run_tflite(path, images: np.ndarray) -> np.ndarray:
    """The output of a TFLite file for images float32 [B, S, S, 3]."""
    interpreter = tf.lite.Interpreter(str(path))
    input_index = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(input_index, images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(input_index, images)
    interpreter.invoke()
    output_index = interpreter.get_output_details()[0]["index"]
    return interpreter.get_tensor(output_index)


def run_onnx(path, images: np.ndarray) -> np.ndarray:
    """The output of an ONNX file for images float32 [B, S, S, 3]."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    input_name = session.get_inputs()[0].name
    return session.run(None, {input_name: images})[0]


@dataclasses.dataclass(frozen=True)
class FileKind:
    """A kind of file that a format has.

    Attributes:
        write: (function of images, path).
        run: (path, images) -> output.
        is_exact: whether it has to be as exact as float32.
    """

    write: Callable
    run: Callable
    is_exact: bool = True


@dataclasses.dataclass(frozen=True)
class Format:
    """A row of the table.

    Attributes:
        packages: what it needs beside the requirements.
        files: {ending: kind of file}.
    """

    packages: tuple[str, ...] = ()
    files: dict[str, FileKind] = dataclasses.field(default_factory=dict)


FORMATS = {
    "saved_model": Format(),  # always written, see `saved_model.write`
    "tflite": Format(
        files={
            ".tflite": FileKind(write_tflite, run_tflite),
            "_int8.tflite": FileKind(write_tflite_int8, run_tflite, is_exact=False),
        }
    ),
    "onnx": Format(
        packages=("tf2onnx", "onnxruntime"), files={".onnx": FileKind(write_onnx, run_onnx)}
    ),
}


def require(names: tuple[str, ...]):
    """Checks that what writes some formats is installed.

    Raises:
        UserError: a package is missing.
    """
    for name in names:
        packages = FORMATS[name].packages
        missing = [package for package in packages if importlib.util.find_spec(package) is None]
        if missing:
            raise UserError(
                f"--export_formats={','.join(names)}: {' and '.join(missing)} not installed, "
                f"which {name} needs; pip install {' '.join(missing)}"
            )


def write(name: str, network, saved_model, images: np.ndarray, directory):
    """Writes the files of a format and compares each with the SavedModel.

    Args:
        name: a key of `FORMATS`.
        network: `models.network.Network`, float32.
        saved_model: path of the same network as a SavedModel.
        images: float32 [N, S, S, 3], to compare on.
        directory: `epath.Path` to write into.

    Raises:
        Failed: the network can't be converted, or the file gives other outputs.
    """
    signature = tf.saved_model.load(str(saved_model)).signatures["images"]
    expected = signature(images=tf.constant(images))
    for stem, output in OUTPUTS.items():
        if output not in expected:
            continue
        for ending, kind in FORMATS[name].files.items():
            path = directory / (stem + ending)
            try:
                kind.write(_output_function(network, output, images.shape[1]), path)
            except Exception as error:  # whatever a converter raises, e.g. above 2 GB
                raise Failed(
                    f"{path.name}: the network can't be converted to {name} "
                    f"({first_line(error)}); the SavedModel is written"
                ) from None
            _compare(path, kind.run(path, images), expected[output].numpy(), kind.is_exact)


def _output_function(network, output, size):
    """One output of the network as a function of images float32 [B, S, S, 3]."""

    def function(images):
        return {output: network.predictions(images)[output]}

    spec = tf.TensorSpec([None, size, size, 3], tf.float32, name="images")
    return tf.function(function, input_signature=[spec], autograph=False)


def _compare(path, values, expected, is_exact):
    """Logs how much an output [N, C] differs from that of the SavedModel; Failed if too much."""
    scale = max(1.0, float(np.max(np.abs(expected))))
    difference = float(np.max(np.abs(values - expected))) / scale
    agreement = ""
    if path.name.startswith("classifier"):
        same = float(np.mean(values.argmax(1) == expected.argmax(1)))
        agreement = f", the same class on {same:.0%}"
    logging.info(
        "%s: %.1f MB, differs from the SavedModel by at most %.1e on %d images%s",
        path.name,
        path.stat().length / 1e6,
        difference,
        len(values),
        agreement,
    )
    if is_exact and not difference <= TOLERANCE:
        raise Failed(
            f"{path}: it differs from the SavedModel by {difference:.1e}, more than "
            f"{TOLERANCE:g}; it is not kept"
        )

"""TFLite and ONNX files of the classifier and of the embedding, each compared with the SavedModel before it stays."""

import importlib.util
import logging as std_logging

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr.checkpoints.files import first_line
from tf_simclr.errors import Failed, UserError

OUTPUTS = {"classifier": "probabilities", "embedding": "embedding"}  # {name of the file: output}
TOLERANCE = 1e-4  # greatest difference of a float32 file's output, relative to the greatest value where that is above 1
OPSET = 17


def tflite(function, path):
    """TFLite in float32: images [B, S, S, 3] -> the output."""
    _write_tflite(function, path, [])


def tflite_int8(function, path):
    """TFLite with weights of 8 bits, dynamic range: a quarter of the size."""
    _write_tflite(function, path, [tf.lite.Optimize.DEFAULT])


def _write_tflite(function, path, optimizations):
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()], function
    )
    converter.optimizations = optimizations
    path.write_bytes(converter.convert())


def onnx(function, path):
    """ONNX: images [B, S, S, 3] -> the output."""
    import tf2onnx

    std_logging.getLogger("tf2onnx").setLevel(std_logging.ERROR)
    tf2onnx.convert.from_function(
        function, input_signature=function.input_signature, opset=OPSET, output_path=str(path)
    )


def run_tflite(path, images):
    """The output of a TFLite file."""
    interpreter = tf.lite.Interpreter(str(path))
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def run_onnx(path, images):
    """The output of an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


# {format: (packages it needs beside TensorFlow, {ending: (write, run, whether it has to be as exact as float32)})}
FORMATS = {
    "saved_model": ((), {}),
    "tflite": (
        (),
        {".tflite": (tflite, run_tflite, True), "_int8.tflite": (tflite_int8, run_tflite, False)},
    ),
    "onnx": (("tf2onnx", "onnxruntime"), {".onnx": (onnx, run_onnx, True)}),
}


def require(names):
    """Raises UserError if what writes one of the formats is not installed."""
    for name in names:
        missing = [
            package for package in FORMATS[name][0] if importlib.util.find_spec(package) is None
        ]
        if missing:
            raise UserError(
                f"--export_formats={','.join(names)}: {' and '.join(missing)} not installed, which {name} needs; pip install {' '.join(missing)}"
            )


def write(name, network, saved_model, images, directory):
    """Writes the files of the format `name` into `directory` and compares each with the SavedModel.

    Args:
        network: models.network.Network, float32. saved_model: its path. images: float32 [N, S, S, 3], to compare on.

    Raises:
        Failed: the network can't be converted, or the file gives something else.
    """
    expected = {
        output: value.numpy()
        for output, value in tf.saved_model.load(str(saved_model))
        .signatures["images"](images=tf.constant(images))
        .items()
    }
    for kind, output in OUTPUTS.items():
        if output not in expected:
            continue
        for ending, (convert, run, exact) in FORMATS[name][1].items():
            path = directory / (kind + ending)
            try:
                convert(_function(network, output, images.shape[1]), path)
            except (
                Exception
            ) as error:  # whatever a converter raises, e.g. for a network of more than 2 GB
                raise Failed(
                    f"{path.name}: the network can't be converted to {name} ({first_line(error)}); the SavedModel is written"
                ) from None
            _compare(path, run(path, images), expected[output], exact)


def _function(network, output, size):
    def function(images):
        return {output: network.predictions(images)[output]}

    return tf.function(
        function,
        input_signature=[tf.TensorSpec([None, size, size, 3], tf.float32, name="images")],
        autograph=False,
    )


def _compare(path, found, expected, exact):
    difference = float(np.max(np.abs(found - expected))) / max(1.0, float(np.max(np.abs(expected))))
    same = float(np.mean(found.argmax(1) == expected.argmax(1)))
    logging.info(
        "%s: %.1f MB, differs from the SavedModel by at most %.1e on %d images%s",
        path.name,
        path.stat().length / 1e6,
        difference,
        len(found),
        f", the same class on {same:.0%}" if path.name.startswith("classifier") else "",
    )
    if exact and not difference <= TOLERANCE:
        raise Failed(
            f"{path}: it differs from the SavedModel by {difference:.1e}, more than {TOLERANCE:g}; it is not kept"
        )

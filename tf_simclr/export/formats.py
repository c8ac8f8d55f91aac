"""TFLite, ONNX and Keras files of the classifier and of the embedding.

Each is compared with the SavedModel before it is kept.
"""

import dataclasses
import importlib.util
import warnings
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr import console
from tf_simclr.errors import Failed, UserError, first_line
from tf_simclr.export import calibrated
from tf_simclr.export.onnx_file import run_onnx, write_onnx
from tf_simclr.models import folding
from tf_simclr.runs.calibration import Calibration

# {name of the file: its outputs in order}; those after the first are there with a calibration.
OUTPUTS = {"classifier": ("probabilities", *calibrated.OUTPUTS), "embedding": ("embedding",)}
# Greatest difference of a float32 file's output, relative to the greatest value where that is
# above 1.
TOLERANCE = 1e-4
TOLERANCES = {
    "novelty": 0.01,  # which may be a distance of some millionths
    "unsure": 0.05,  # share of the images: one of 32 may lie at the threshold
}


@dataclasses.dataclass(frozen=True)
class Exported:
    """Some outputs of a network, to be written to a file.

    Attributes:
        network: `models.network.Network`, float32.
        names: of the outputs, in order.
        images: float32 [N, S, S, 3], such as it will see.
        calibration: of the classifier; None: there is none.
    """

    network: object
    names: tuple[str, ...]
    images: np.ndarray
    calibration: Calibration | None

    def function(self):
        """Images float32 [B, S, S, 3] -> {name: output}, as a tf.function."""

        def outputs_of(images):
            with folding.folded_norms():
                outputs = self.network.predictions(images)
            if "logits_sup" in outputs:
                logits, embedding = outputs["logits_sup"], outputs["embedding"]
                outputs |= calibrated.outputs(self.calibration, logits, embedding)
            return {name: outputs[name] for name in self.names}

        spec = tf.TensorSpec([None, *self.images.shape[1:]], tf.float32, name="images")
        return tf.function(outputs_of, input_signature=[spec], autograph=False)


def write_tflite(exported, path):
    """TFLite in float32: images [B, S, S, 3] -> the outputs."""
    _convert_to_tflite(exported, path)


def write_tflite_int8(exported, path):
    """TFLite with weights of 8 bits, dynamic range: a quarter of the size."""
    _convert_to_tflite(exported, path, optimizations=[tf.lite.Optimize.DEFAULT])


def write_tflite_static_int8(exported, path):
    """TFLite with weights and feature maps of 8 bits, whose ranges are those of `images`."""

    def representative():
        return ([image[None]] for image in exported.images)

    _convert_to_tflite(
        exported,
        path,
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=representative,
    )


def _convert_to_tflite(exported, path, **options):
    """Converts with options of `tf.lite.TFLiteConverter`."""
    function = exported.function()

    def in_order(images):  # a dict would be sorted by its keys
        outputs = function(images)
        return [outputs[name] for name in exported.names]

    ordered = tf.function(in_order, input_signature=function.input_signature, autograph=False)
    concrete = ordered.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], ordered)
    for name, value in options.items():
        setattr(converter, name, value)
    with console.without_native_messages(), warnings.catch_warnings():
        # Of the statistics of images, which are there.
        warnings.filterwarnings("ignore", "Statistics for quantized inputs")
        path.write_bytes(converter.convert())


def write_keras(exported, path):
    """Keras' own layers: images [B, H, W, 3] of any size -> the main output."""
    is_classifier = exported.names[0] != "embedding"
    model = exported.network.keras_model("logits" if is_classifier else "features")
    if is_classifier:
        probabilities = keras.layers.Softmax(name="probabilities")(model.output)
        model = keras.Model(model.input, probabilities, name="classifier")
    model.save(str(path))


def run_tflite(path, images: np.ndarray) -> list[np.ndarray]:
    """The outputs of a TFLite file for images float32 [B, S, S, 3]."""
    from ai_edge_litert.interpreter import Interpreter  # tf.lite.Interpreter is to be deleted

    interpreter = Interpreter(str(path))
    input_index = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(input_index, images.shape)
    with console.without_native_messages():
        interpreter.allocate_tensors()
    interpreter.set_tensor(input_index, images)
    interpreter.invoke()
    details = interpreter.get_output_details()
    return [interpreter.get_tensor(output["index"]) for output in details]


def run_keras(path, images: np.ndarray) -> list[np.ndarray]:
    """The main output of a Keras file for images float32 [B, S, S, 3]."""
    model = keras.saving.load_model(str(path))
    return [model(images, training=False).numpy()]


@dataclasses.dataclass(frozen=True)
class FileKind:
    """A kind of file that a format has.

    Attributes:
        write: (`Exported`, path).
        run: (path, images) -> outputs.
        is_exact: whether it has to be as exact as float32.
        has_all: whether it has the outputs after the first one, too.
        is_fitted: whether it depends on the images that the network will see.
    """

    write: Callable
    run: Callable
    is_exact: bool = True
    has_all: bool = True
    is_fitted: bool = False


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
        packages=("ai_edge_litert",),
        files={
            ".tflite": FileKind(write_tflite, run_tflite),
            "_int8.tflite": FileKind(write_tflite_int8, run_tflite, is_exact=False),
            "_static_int8.tflite": FileKind(
                write_tflite_static_int8, run_tflite, is_exact=False, has_all=False, is_fitted=True
            ),
        },
    ),
    "onnx": Format(
        packages=("tf2onnx", "onnxruntime"), files={".onnx": FileKind(write_onnx, run_onnx)}
    ),
    "keras": Format(files={".keras": FileKind(write_keras, run_keras, has_all=False)}),
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


def saved_model_outputs(path, images: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs of a SavedModel for images float32 [N, S, S, 3], by name."""
    signature = tf.saved_model.load(str(path)).signatures["images"]
    outputs = signature(images=tf.constant(images))
    return {name: value.numpy() for name, value in outputs.items()}


def write(
    name: str,
    network,
    images: np.ndarray,
    answer: dict[str, np.ndarray],
    directory,
    *,
    are_typical: bool,
    calibration: Calibration | None = None,
):
    """Writes the files of a format and compares each with the SavedModel.

    Args:
        name: a key of `FORMATS`.
        network: `models.network.Network`, float32.
        images: float32 [N, S, S, 3], to compare on.
        answer: of the same network as a SavedModel, see `saved_model_outputs`.
        directory: `epath.Path` to write into.
        are_typical: whether `images` are such as the network will see.
        calibration: of the classifier; None: there is none.

    Raises:
        Failed: the network can't be converted, or the file gives other outputs.
    """
    for stem, names in OUTPUTS.items():
        known = [output for output in names if output in answer]
        if not known:
            continue
        for ending, kind in FORMATS[name].files.items():
            path = directory / (stem + ending)
            if kind.is_fitted and not are_typical:
                logging.info(
                    "%s is left out: the ranges of its 8 bits are those of training images, and "
                    "there are none; --mode=eval writes it",
                    path.name,
                )
                continue
            outputs = tuple(known if kind.has_all else known[:1])
            expected = {output: answer[output] for output in outputs}
            try:
                kind.write(Exported(network, outputs, images, calibration), path)
                values = kind.run(path, images)
            except Exception as error:  # whatever a converter or a runtime raises
                raise Failed(
                    f"{path.name}: the network can't be converted to {name} "
                    f"({first_line(error)}); the SavedModel is written"
                ) from None
            outputs = dict(zip(expected, values, strict=True))
            _compare(path, outputs, expected, kind.is_exact)


def _compare(path, outputs, expected, is_exact):
    """Logs how much outputs {name: [N, ...]} differ from the SavedModel's; Failed if too much.

    The first one is the main one, whose difference is logged.
    """
    differences = {name: _difference(outputs[name], expected[name]) for name in expected}
    main = next(iter(expected))
    agreement = ""
    if path.name.startswith("classifier"):
        same = float(np.mean(outputs[main].argmax(1) == expected[main].argmax(1)))
        agreement = f", the same class on {same:.0%}"
    logging.info(
        "%s: %.1f MB, differs from the SavedModel by at most %.1e on %d images%s",
        path.name,
        path.stat().length / 1e6,
        differences[main],
        len(outputs[main]),
        agreement,
    )
    for name, difference in differences.items():
        tolerance = TOLERANCES.get(name, TOLERANCE)
        if is_exact and not difference <= tolerance:
            raise Failed(
                f"{path}: it differs from the SavedModel by {difference:.1e} ({name}), more than "
                f"{tolerance:g}; it is not kept"
            )


def _difference(values, expected):
    """The greatest difference, relative above 1; of truth values the share that differs."""
    if expected.dtype == bool:
        return float(np.mean(values != expected))
    scale = max(1.0, float(np.max(np.abs(expected))))
    return float(np.max(np.abs(values - expected))) / scale

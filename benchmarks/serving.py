"""Latency and throughput of an exported embedding, in TensorFlow, ONNX Runtime and TFLite: `python -m benchmarks.serving`.

All take turns in one process on the same images; the table gives medians. Weights are random: they do not matter to speed.
"""

import argparse
import os
import statistics
import tempfile
import time

BASELINE = "SavedModel, signature images"


def runners(options, folder):
    """{name: function of float32 images [B, S, S, 3]}, of one network."""
    import tf_simclr  # noqa: F401  isort: skip  sets the environment before TensorFlow is imported
    import onnxruntime
    import tensorflow as tf
    from etils import epath
    from sklearn.datasets import load_sample_images

    from tf_simclr import config
    from tf_simclr.export import exporter, model_card
    from tf_simclr.models.network import Network

    settings = config.build(
        {
            "resnet_depth": options.depth,
            "image_size": options.image_size,
            "width_multiplier": options.width,
            "proj_head_mode": "none",
            "export_formats": "tflite,onnx",
        }
    )
    network = Network(settings, 0)
    network.build_variables()
    exporter.export(
        network,
        model_card.ModelDescription(settings, (), 0, {}, {}),
        epath.Path(folder),
        settings.export,
    )
    module = tf.saved_model.load(os.path.join(folder, "saved_model", "0"))
    session = onnxruntime.InferenceSession(
        os.path.join(folder, "onnx", "0", "embedding.onnx"), providers=["CPUExecutionProvider"]
    )
    photo = tf.io.encode_jpeg(load_sample_images().images[0]).numpy()  # 640 x 427 pixels

    return {
        BASELINE: lambda images: module.signatures["images"](images=tf.constant(images))[
            "embedding"
        ].numpy(),
        "SavedModel, signature embed, JPEG of 640 x 427": lambda images: module.signatures["embed"](
            image_bytes=tf.constant([photo] * len(images))
        )["embedding"].numpy(),
        "ONNX Runtime": lambda images: session.run(None, {session.get_inputs()[0].name: images})[0],
        "TFLite": tflite(os.path.join(folder, "tflite", "0", "embedding.tflite")),
        "TFLite, int8 weights": tflite(
            os.path.join(folder, "tflite", "0", "embedding_int8.tflite")
        ),
    }


def tflite(path):
    """A function of images; their number may change from call to call."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(path, num_threads=os.cpu_count())
    index, sizes = interpreter.get_input_details()[0]["index"], []

    def run(images):
        if sizes[-1:] != [images.shape]:
            sizes.append(images.shape)
            interpreter.resize_tensor_input(index, images.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(index, images)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--rounds", type=int, default=5, help="timed calls of each")
    options = parser.parse_args()
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        functions = runners(options, folder)
        print(
            f"ResNet-{options.depth} {options.width:g}x, {options.image_size} pixels, {os.cpu_count()} cores, median of {options.rounds} calls\n"
        )
        print("| embedding | batch | ms a call | images/s | ratio |\n|---|---|---|---|---|")
        for batch in options.batches:
            images = np.random.default_rng(0).random(
                (batch, options.image_size, options.image_size, 3), np.float32
            )
            seconds = {name: [] for name in functions}
            for turn in range(options.rounds + 1):
                for name, function in functions.items():
                    began = time.perf_counter()
                    function(images)
                    if turn:  # the first one compiles
                        seconds[name].append(time.perf_counter() - began)
            base = statistics.median(seconds[BASELINE])
            for name, values in seconds.items():
                median = statistics.median(values)
                print(
                    f"| {name} | {batch} | {1000 * median:.0f} | {batch / median:.1f} | {base / median:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()

"""Latency and throughput of an exported embedding, in TensorFlow, ONNX Runtime and TFLite.

    python -m benchmarks.serving

All take turns in one process on the same images; the table gives medians. Weights are random: they
do not matter to speed.
"""

import argparse
import os
import statistics
import tempfile
import time

BASELINE = "SavedModel, signature images"


def export(options, folder):
    """Exports a network without heads in all formats, as step 0."""
    import tf_simclr  # noqa: F401  isort: skip  sets the environment before TensorFlow is imported
    from etils import epath

    from tf_simclr import config
    from tf_simclr.export import exporter, model_card
    from tf_simclr.models.network import Network

    flags = {
        "resnet_depth": options.depth,
        "image_size": options.image_size,
        "width_multiplier": options.width,
        "proj_head_mode": "none",
        "export_formats": "tflite,onnx",
    }
    settings = config.build(flags)
    network = Network(settings, 0)
    network.build_variables()
    description = model_card.ModelDescription(settings, (), 0, {}, {})
    exporter.export(
        network,
        description,
        epath.Path(folder),
        options=settings.export,
        make_images=lambda: exporter.sample_images(*settings.preprocessing),
    )


def runners(folder):
    """{name: function of float32 images [B, S, S, 3]} of the exported network."""
    import onnxruntime
    import tensorflow as tf
    from sklearn.datasets import load_sample_images

    module = tf.saved_model.load(os.path.join(folder, "saved_model", "0"))
    onnx = os.path.join(folder, "onnx", "0", "embedding.onnx")
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    (onnx_input,) = session.get_inputs()
    photo = tf.io.encode_jpeg(load_sample_images().images[0]).numpy()  # 640 x 427 pixels

    def of_images(images):
        return module.signatures["images"](images=tf.constant(images))["embedding"].numpy()

    def of_encoded(images):
        encoded = tf.constant([photo] * len(images))
        return module.signatures["embed"](image_bytes=encoded)["embedding"].numpy()

    tflite_folder = os.path.join(folder, "tflite", "0")
    return {
        BASELINE: of_images,
        "SavedModel, signature embed, JPEG of 640 x 427": of_encoded,
        "ONNX Runtime": lambda images: session.run(None, {onnx_input.name: images}),
        "TFLite": tflite(os.path.join(tflite_folder, "embedding.tflite")),
        "TFLite, int8 weights": tflite(os.path.join(tflite_folder, "embedding_int8.tflite")),
        "TFLite, static int8": tflite(os.path.join(tflite_folder, "embedding_static_int8.tflite")),
    }


def tflite(path):
    """A function of images; their number may change from call to call."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(path, num_threads=os.cpu_count())
    (model_input,) = interpreter.get_input_details()
    index = model_input["index"]
    allocated = None

    def run(images):
        nonlocal allocated
        if allocated != images.shape:
            allocated = images.shape
            interpreter.resize_tensor_input(index, images.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(index, images)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    return run


def time_in_turns(functions, images, rounds):
    """{name: seconds of each call}."""
    seconds = {name: [] for name in functions}
    for turn in range(rounds + 1):
        for name, function in functions.items():
            began = time.perf_counter()
            function(images)
            if turn:  # the first one compiles
                seconds[name].append(time.perf_counter() - began)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--rounds", type=int, default=5, help="timed calls of each")
    options = parser.parse_args()
    import numpy as np

    size = options.image_size
    with tempfile.TemporaryDirectory() as folder:
        export(options, folder)
        functions = runners(folder)
        network = f"ResNet-{options.depth} {options.width:g}x, {size} pixels"
        print(f"{network}, {os.cpu_count()} cores, median of {options.rounds} calls\n")
        print("| embedding | batch | ms a call | images/s | ratio |\n|---|---|---|---|---|")
        for batch in options.batches:
            images = np.random.default_rng(0).random((batch, size, size, 3), np.float32)
            seconds = time_in_turns(functions, images, options.rounds)
            base = statistics.median(seconds[BASELINE])
            for name, values in seconds.items():
                median = statistics.median(values)
                rate = f"{batch / median:.1f} | {base / median:.2f}"
                print(f"| {name} | {batch} | {1000 * median:.0f} | {rate} |", flush=True)


if __name__ == "__main__":
    main()

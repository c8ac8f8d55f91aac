"""Programs that use an export as others do, in a process that can't import `tf_simclr`.

    python consumers.py NAME,NAME,... PATH

PATH is a run directory's saved_model/<step> of a digits network; {name: answers} goes to stdout as
JSON, a line each. They run in this order, and none imports more than it needs: what only needs
TensorFlow comes first.
"""

import contextlib
import functools
import io
import json
import pathlib
import sys
import tempfile


@functools.cache
def saved_model():
    """The SavedModel, loaded once: it takes more than a second."""
    import tensorflow as tf

    return tf.saved_model.load(SAVED_MODEL)


def digits(count, size):
    """(images float32 [N, S, S, 3] in [0, 1], labels [N]) of scikit-learn's digits."""
    import numpy as np
    import tensorflow as tf
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = np.round(data.images[:count] * (255 / 16))
    images = np.repeat(pixels[..., None], 3, -1) / 255
    resized = tf.image.resize(images, [size, size], "bicubic").numpy().clip(0, 1)
    return resized, data.target[:count]


def plain_tensorflow():
    """TensorFlow alone: outputs by name, and one step of training that changes all variables."""
    import tensorflow as tf

    images, _ = digits(8, 16)
    module = saved_model()
    before = [v.numpy() for v in module.variables]
    outputs = module(tf.constant(images), trainable=False)
    with tf.GradientTape() as tape:
        loss = sum(
            tf.reduce_sum(value**2)
            for value in module(tf.constant(images), trainable=True).values()
        )
    trained = [*module.trainable_variables, *module.head_variables]
    gradients = tape.gradient(loss, trained)
    return {
        "outputs": {
            name: value.numpy().tolist() for name, value in outputs.items() if len(value.shape) == 2
        },
        "names": sorted(outputs),
        "without_gradient": sum(gradient is None for gradient in gradients),
        "trained": len(trained),
        "moved": sum(bool((v.numpy() != old).any()) for v, old in zip(module.variables, before)),
        "signatures": sorted(module.signatures),
    }


def fine_tune(keras, optimizer):
    """A hub.KerasLayer, frozen and trained, 20 steps each: their losses and accuracies."""
    import numpy as np
    import tensorflow_hub as hub

    images, labels = digits(100, 16)
    results = {}
    # A layer takes what was loaded, or a path.
    for trainable, handle in ((False, hub.load(SAVED_MODEL)), (True, SAVED_MODEL)):
        np.random.seed(0)
        keras.utils.set_random_seed(0)
        layer = hub.KerasLayer(handle, trainable=trainable)
        normalize = keras.layers.Lambda(lambda x: x / 10)
        model = keras.Sequential(
            [keras.layers.InputLayer((16, 16, 3)), layer, normalize, keras.layers.Dense(10)]
        )
        model.compile(
            optimizer(),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        before = [v.numpy() for v in layer.variables]
        model.fit(images, labels, batch_size=100, epochs=20, verbose=0, shuffle=False)
        loss, accuracy = model.evaluate(images, labels, verbose=0)
        results[f"trainable_{trainable}"] = {
            "loss": loss,
            "accuracy": accuracy,
            "trainable_variables": len(layer.trainable_variables),
            "losses": len(layer.losses),
            "moved": sum(bool((v.numpy() != old).any()) for v, old in zip(layer.variables, before)),
        }
    return results


def hub():
    """TF-Hub in Keras 2."""
    import tf_keras

    return fine_tune(tf_keras, lambda: tf_keras.optimizers.legacy.Adam(0.003))


def old():
    """TensorFlow 2.15 with tensorflow-addons: the outputs, and fine-tuning with its LAMB."""
    import tensorflow as tf
    import tensorflow_addons as tfa

    serve = saved_model().signatures["serving_default"]
    answer = serve(image_bytes=tf.constant([a_file()]))
    return {
        **plain_tensorflow(),
        "version": tf.__version__,
        "answer": {
            name: value.numpy().tolist() for name, value in answer.items() if name != "classes"
        },
        **fine_tune(tf.keras, lambda: tfa.optimizers.LAMB(0.01)),
    }


def keras3():
    """A layer inside a model of Keras 3."""
    import keras
    import tensorflow as tf

    images, _ = digits(4, 16)
    inputs = keras.Input((16, 16, 3))
    answer = keras.layers.TFSMLayer(SAVED_MODEL, call_endpoint="images", trainable=False)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3)(answer["embedding"]))
    model.compile("adam", "mse")
    model.fit(images, tf.zeros([4, 3]), verbose=0)
    return {
        "keras": keras.__version__,
        "shape": list(model.predict(images, verbose=0).shape),
        "probabilities": keras.Model(inputs, answer["probabilities"])
        .predict(images, verbose=0)
        .tolist(),
    }


def cli():
    """`saved_model_cli`: what it shows of a signature, and what it writes for two files."""
    import numpy as np
    from tensorflow.python.tools import saved_model_cli

    folder = pathlib.Path(tempfile.mkdtemp())
    np.save(folder / "files.npy", np.array([a_file(), a_file()]))
    signature = ["--dir", SAVED_MODEL, "--tag_set=serve", "--signature_def=serving_default"]
    files = f"--inputs=image_bytes={folder / 'files.npy'}"
    printed, arguments = io.StringIO(), sys.argv
    with contextlib.redirect_stdout(printed):
        for command in (
            ["show", *signature],
            ["run", *signature, files, f"--outdir={folder}"],
        ):
            sys.argv = ["saved_model_cli", *command]
            try:
                saved_model_cli.main()
            except SystemExit as end:  # how it ends
                assert not end.code, end
    sys.argv = arguments
    return {
        "printed": printed.getvalue(),
        "embedding": np.load(folder / "embedding.npy").tolist(),
        "classes": list(np.load(folder / "classes.npy", allow_pickle=True).shape),
    }


def a_file():
    """An encoded image, the same one everywhere."""
    from PIL import Image

    image, file = Image.linear_gradient("L").resize((50, 40)).convert("RGB"), io.BytesIO()
    image.save(file, "JPEG")
    return file.getvalue()


def peak_memory():
    """Megabytes; `resource.getrusage` would count what the process had that started this one."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def mutated():
    """300 broken, hostile and unusual images, alone and with good ones: answers and memory."""
    import random

    import tensorflow as tf
    from PIL import Image

    rng, good, bases = random.Random(0), a_file(), []
    for width, height in ((50, 40), (500, 700)):
        image = Image.effect_noise((width, height), 80).convert("RGB")
        for kind in ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM"):
            file = io.BytesIO()
            image.save(file, kind)
            bases.append(file.getvalue())
    files = []
    for number in range(300):
        content = bytearray(rng.choice(bases))
        kind = number % 5
        if kind == 0:  # flipped bits
            for _ in range(rng.randint(1, 20)):
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        elif kind == 1:  # truncated
            content = content[: rng.randrange(len(content))]
        elif kind == 2:  # another header
            content[:8] = rng.choice(bases)[:8]
        elif kind == 3:  # sizes of any magnitude where headers have them
            for _ in range(4):
                at = rng.randrange(4, 40)
                content[at : at + 2] = rng.randbytes(2)
        files.append(bytes(content))
    serve = saved_model().signatures["serving_default"]
    expected = serve(image_bytes=tf.constant([good]))["probabilities"]
    outcomes = {"answered": 0, "refused": 0, "messages": [], "wrong": 0}
    requests = [[file] for file in files] + [
        [good, *files[start : start + 6]] for start in range(0, 300, 6)
    ]
    for request in requests:
        try:
            answer = serve(image_bytes=tf.constant(request))["probabilities"].numpy()
            outcomes["answered"] += 1
            outcomes["wrong"] += (
                answer.shape[0] != len(request) or not (abs(answer.sum(1) - 1) < 1e-3).all()
            )
        except tf.errors.InvalidArgumentError as error:
            outcomes["refused"] += 1
            outcomes["messages"].append(error.message[:300])
        again = serve(image_bytes=tf.constant([good]))["probabilities"]
        outcomes["wrong"] += bool(tf.reduce_any(again != expected))
    return {
        **outcomes,
        "requests": len(requests),
        "messages": sorted(set(outcomes["messages"]), key=len)[:3],
        "megabytes": peak_memory(),
    }


if __name__ == "__main__":
    sys.modules["tf_simclr"] = None  # importing it fails
    SAVED_MODEL = sys.argv[2]
    for chosen in sys.argv[1].split(","):
        print(
            json.dumps(
                {
                    chosen: {
                        "plain": plain_tensorflow,
                        "cli": cli,
                        "hub": hub,
                        "old": old,
                        "keras3": keras3,
                        "mutated": mutated,
                    }[chosen]()
                }
            ),
            flush=True,
        )

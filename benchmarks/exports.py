"""How accurate the exported files of a run are, on its evaluation split.

    python run.py --mode=eval --model_dir=RUN --export_formats=saved_model,tflite,onnx
    python -m benchmarks.exports RUN --dataset=cifar10 --data_dir=TFDS_DIR

The files with 8 bits cost a little accuracy, which this table shows.
"""

import argparse
import pathlib

import tf_simclr  # noqa: F401  isort: skip  sets the environment before TensorFlow is imported
import numpy as np
from etils import epath

from tf_simclr import config
from tf_simclr.data import augment, datasets
from tf_simclr.export import formats
from tf_simclr.runs import files as run_files

BATCH = 256
RUNNERS = {".tflite": formats.run_tflite, ".onnx": formats.run_onnx}


def evaluation_images(options, settings):
    """(images float32 [N, S, S, 3] as in evaluation, labels int64 [N]) of the split."""
    source = datasets.load(settings.data, settings.data.eval_split).labeled()
    images = source.ordered().map(lambda record, label: (source.decode(record), label))
    pairs = images.map(
        lambda image, label: (augment.eval_image(image, *settings.preprocessing), label)
    )
    taken = pairs.take(options.images) if options.images else pairs
    arrays, labels = zip(*taken.as_numpy_iterator())
    return np.stack(arrays), np.array(labels)


def in_batches(run, path, images):
    """The first output for all images."""
    return np.concatenate(
        [run(path, images[start : start + BATCH])[0] for start in range(0, len(images), BATCH)]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="run directory with exports")
    parser.add_argument("--dataset", help="another one than the run's")
    parser.add_argument("--data_dir", default="")
    parser.add_argument("--images", type=int, default=0, help="at most so many (0: all)")
    options = parser.parse_args()
    folder = pathlib.Path(options.run)
    saved = run_files.read_json(epath.Path(folder) / run_files.CONFIG)
    flags = {**saved, "data_dir": options.data_dir}
    if options.dataset:
        flags["dataset"] = options.dataset
    settings = config.build(flags)
    images, labels = evaluation_images(options, settings)
    print("| file | MB | top 1 |\n|---|---|---|")
    for path in sorted(folder.glob("*/*/classifier*")):
        run = RUNNERS.get(path.suffix)
        if run is not None:
            predicted = in_batches(run, path, images).argmax(1)
            megabytes = path.stat().st_size / 1e6
            print(f"| {path.name} | {megabytes:.2f} | {np.mean(predicted == labels):.2%} |")


if __name__ == "__main__":
    main()

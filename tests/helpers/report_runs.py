"""Run directories as evaluations leave them, made up: for the tests of the report."""

import copy
import io
import json

import numpy as np
import tensorflow as tf
from PIL import Image

from tf_simclr.config import Config

IMAGES, COLUMNS, SIDE = 40, 8, 8
METRICS = {
    "linear_probe_accuracy": 0.903,
    "few_labels_1_accuracy": 0.7,
    "few_labels_2_accuracy": 0.8,
    "knn_accuracy": 0.9,
    "clustering_nmi": 0.8,
    "clustering_ari": 0.7,
    "clustering_accuracy": 0.75,
    "retrieval_recall_at_1": 0.9,
    "retrieval_recall_at_5": 0.95,
    "retrieval_recall_at_10": 0.97,
    "retrieval_map": 0.6,
    "feature_rank": 37.2,
    "alignment": 0.3,
    "uniformity": -2.9,
    "feature_std": 0.8,
    "dead_dimensions": 0.02,
}
NEED_NO_LABELS = ("feature_rank", "alignment", "uniformity", "feature_std", "dead_dimensions")
DETAILS = {
    "few_labels": [
        {"labels_per_class": n, "mean": 0.5 + n / 10, "std": 0.03, "draws": [0.5, 0.6]}
        for n in (1, 2, 4)
    ],
    "label_law": {
        "labels": 40,
        "limit": 200,
        "reason": None,
        "law": {"factor": 1.0, "exponent": 0.4, "offset": 0.01, "ceiling": 0.995},
        "targets": [
            {"accuracy": 0.9, "labels": 45, "low": 40, "high": 60},
            {"accuracy": 0.95, "labels": 117, "low": 78, "high": 171},
            {"accuracy": 0.99, "labels": None, "low": 151, "high": None},
        ],
        "band": [
            {"labels": n, "accuracy": 0.99 - n**-0.4, "low": 0.9 - n**-0.4, "high": 1 - n**-0.4}
            for n in (10, 20, 40, 100, 200)
        ],
    },
    "knn": {"k": 20, "temperature": 0.1},
    "probe": {"l2_strength": 0.01, "solver": "lbfgs"},
}
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "</style></svg><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "$x^2$ {{ 7 * 7 }} &lt;",
    "long" * 40,
)


def document(name="pretrain", classes=10, class_name="class {}".format, file_name="test/{}".format):
    """A results.json with everything in it."""
    rng = np.random.default_rng(0)
    confusion = rng.integers(0, 3, [classes, classes]) + 30 * np.eye(classes, dtype=int)
    bins = [
        {
            "from": low,
            "to": low + 0.2,
            "confidence": low + 0.1 if low else None,
            "accuracy": low + 0.05 if low else None,
            "count": int(50 * low),
        }
        for low in (0.0, 0.2, 0.4, 0.6, 0.8)
    ]
    classifier = {
        "confusion": confusion.tolist(),
        "per_class_accuracy": [*(confusion.diagonal() / confusion.sum(1))[:-1].tolist(), None],
        "reliability": bins,
    }
    less = {
        metric: 0.375 if metric == "linear_probe_accuracy" else value / 2
        for metric, value in METRICS.items()
    }
    return copy.deepcopy(
        {
            "schema": "tf_simclr.results",
            "version": 1,
            "run": {
                "name": name,
                "train_mode": "pretrain",
                "dataset": "digits",
                "train_split": "train",
                "eval_split": "test",
                "step": 440,
                "total_steps": 880,
                "labels": 144,
                "images": 1437,
                "parameters": 751546,
                "train_minutes": 2.3,
                "evaluated_examples": 360,
                "fitted_examples": 20,
                "class_names": [class_name(label) for label in range(classes)],
                "layers": ["block_group4", "final_avg_pool"],
            },
            "flags": {
                **json.loads(json.dumps(Config().flat())),
                "dataset": "digits",
                "train_batch_size": 128,
            },
            "environment": {"python": "3.11.7"},
            "command": "python run.py --mode=train_then_eval",
            "figures": {
                "trained": {
                    "classifier": {"label_top_1_accuracy": 0.9, "expected_calibration_error": 0.04},
                    "final_avg_pool": METRICS,
                    "block_group4": less,
                },
                "untrained": {"final_avg_pool": less, "block_group4": less},
                "pixels": {"pixels": {"linear_probe_accuracy": 0.65, "knn_accuracy": 0.6}},
            },
            "details": {
                "trained": {"classifier": classifier, "final_avg_pool": DETAILS},
                "untrained": {"final_avg_pool": DETAILS},
                "pixels": {"pixels": DETAILS},
            },
            "left_out": [
                {
                    "network": "trained",
                    "place": "block_group4",
                    "evaluation": "few_labels",
                    "reason": "only one class among the labels",
                }
            ],
            "images": {
                "file": "report_images.jpg",
                "size": SIDE,
                "columns": COLUMNS,
                "names": [file_name(i) for i in range(IMAGES)],
                "labels": [-1, *(i % classes for i in range(1, IMAGES))],
                "predicted": [None, *((i + i // 20) % classes for i in range(1, IMAGES))],
            },
            "map": {
                "images": list(range(IMAGES)),
                "pca": rng.normal(size=[IMAGES, 2]).tolist(),
                "tsne": rng.normal(size=[IMAGES, 2]).tolist(),
            },
            "neighbors": [
                {"query": row, "neighbors": list(range(10, 18)), "similarity": [0.9] * 8}
                for row in range(3)
            ],
            "mistakes": [{"image": 25, "label": 5, "predicted": 6, "confidence": 0.98}],
            "views": {
                "file": "report_views.jpg",
                "size": SIDE,
                "columns": 3,
                "rows": 2,
                "names": ["image", "grey", "colourised"],
            },
            "best": {
                "step": 21,
                "criterion": "knn_accuracy on 143 held-out training images",
                "value": 0.93,
            },
            "transfer": [
                {
                    "dataset": "cifar100",
                    "classes": 100,
                    "labels": 50000,
                    "test": 10000,
                    "probe": 0.6,
                    "fine_tuned": None,
                    "untrained_probe": 0.3,
                }
            ],
        }
    )


def write(directory, content, seed=0, events=True):
    """A run directory with a results.json, the sheets it names and the events of a training."""
    directory.mkdir(parents=True)
    (directory / "results.json").write_text(json.dumps(content))
    for name, rows, columns in (
        ("report_images.jpg", IMAGES // COLUMNS, COLUMNS),
        ("report_views.jpg", 2, 3),
    ):
        (directory / name).write_bytes(sheet(rows, columns, seed))
    if events:
        write_events(directory, {step: 9 - step / 10 for step in range(1, 42, 10)})
    return directory


def sheet(rows, columns, seed):
    """A JPEG of noise."""
    file = io.BytesIO()
    Image.fromarray(
        np.random.default_rng(seed).integers(
            0, 255, [rows * SIDE, columns * SIDE, 3], dtype=np.uint8
        )
    ).save(file, "JPEG")
    return file.getvalue()


def write_events(directory, losses):
    """An event file with {step: contrastive loss} and what goes with it."""
    with tf.summary.create_file_writer(str(directory)).as_default():
        for step, loss in losses.items():
            for tag, value in {
                "train/contrast_loss": loss,
                "train/contrast_chance": 11.0,
                "train/supervised_acc": step / 50,
                "learning_rate": 0.1,
                "train/embedding_std": 0.05,
                "monitor/knn_accuracy": step / 50,
            }.items():
                tf.summary.scalar(tag, value, step)

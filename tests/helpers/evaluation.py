"""An experiment, measured: what the tests of the evaluation and of the report's images look at."""

import dataclasses

import tensorflow as tf

from tf_simclr.commands import evaluate
from tf_simclr.evaluation import evaluator, report_images, results_json
from tf_simclr.evaluation.network_features import EvaluationData, NetworkFeatures
from tf_simclr.evaluation.results import Results

QUICK = {"mode": "train_then_eval", "labels_per_class": 3, "eval_batch_size": 64, "eval_steps": 2}


@dataclasses.dataclass(frozen=True)
class Measured:
    """The evaluation of an experiment."""

    data: EvaluationData
    results: Results
    features: NetworkFeatures


def evaluation_data(experiment):
    return evaluator.evaluation_data(
        experiment.data.train_source, experiment.eval_source, experiment.settings
    )


def measure(experiment, names=None, data=None):
    """Evaluates the weights as they are; names, data: other ones than the experiment's."""
    data = data or evaluation_data(experiment)
    results, features = evaluator.evaluate(
        experiment.objective,
        data,
        settings=experiment.settings,
        strategy=experiment.strategy,
        directory=experiment.directory,
        make_baseline=experiment.make_baseline,
        names=names,
        related=experiment.related,
    )
    return Measured(data, results, features)


def write_report_images(experiment, measured):
    (part, *_) = experiment.data.batch_parts
    return report_images.write_report_images(
        experiment.directory.path,
        experiment.objective,
        source=measured.data.test,
        train_source=part.source,
        features=measured.features,
        results=measured.results,
        settings=experiment.settings,
    )


def write_view_sheet(experiment):
    (part, *_) = experiment.data.batch_parts
    return report_images._write_view_sheet(
        experiment.directory.path, experiment.objective, part.source, experiment.settings
    )


def document_of(experiment, measured):
    """The content of results.json."""
    description = evaluate.describe(experiment)
    run = {name: description[name] for name in ("total_steps", "labels", "parameters")}
    return results_json.document(
        experiment.directory.path,
        settings=experiment.settings,
        run={**run, "step": 3, "train_minutes": 0.0, "images": experiment.data.num_available},
        class_names=experiment.class_names or experiment.data.train_source.class_names,
        data=measured.data,
        results=measured.results,
        report_images=write_report_images(experiment, measured),
        mode="train_then_eval",
        strategy=experiment.strategy,
    )


def images_of(experiment, source):
    """What the network sees of all examples, float32 [N, S, S, 3]."""
    eval_example = experiment.objective.eval_example
    images = [eval_example(tf.constant(image), 0)["image"] for image in source.records]
    return tf.stack(images)


def thumbnails(directory, sheet):
    """The images of a sheet, [n, S, S, 3]."""
    pixels = tf.io.decode_jpeg((directory / sheet["file"]).read_bytes()).numpy()
    size, columns = sheet["size"], sheet["columns"]
    grid = pixels.reshape(-1, size, columns, size, 3).swapaxes(1, 2)
    return grid.reshape(-1, size, size, 3)

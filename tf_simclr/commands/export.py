"""Exports the newest weights of a run, or weights from elsewhere, without any data."""

from tf_simclr import distribute
from tf_simclr.checkpoints import backbones, pretrained
from tf_simclr.checkpoints.class_names import class_names_or_numbers, saved_class_names
from tf_simclr.config import Config
from tf_simclr.export import exporter, formats
from tf_simclr.export.model_card import ModelDescription
from tf_simclr.runs import calibration
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory


def export_run(settings: Config, alone: bool = True):
    """Exports the newest checkpoint of a run, or what --checkpoint names as step 0.

    Weights of --checkpoint get a run directory of their own.

    Args:
        settings: the whole configuration.
        alone: whether it is a single run, not a stage of a chain.

    Raises:
        UserError: there are no weights, the run directory has others, or a converter is not
            installed. Also as `exporter.export`.
    """
    formats.require(settings.export.export_formats)
    strategy = distribute.get_strategy(settings.hardware)
    path, flag = pretrained.weights_path(settings, alone)
    is_imported = flag == "checkpoint"
    directory = RunDirectory(settings.train.model_dir, settings)
    model = pretrained.load(path, flag, settings)
    step = 0 if is_imported else model.step
    if distribute.is_chief(strategy):
        if is_imported:
            directory.create()
            directory.commit()
            backbones.write(directory, settings.model)
        # Weights from elsewhere may have been evaluated in the run directory, as step 0.
        known_by = {directory.path: step, model.directory: model.step}
        description = _describe(model, step, known_by)
        exporter.export(model.network, description, directory.path, options=settings.export)
    distribute.barrier(strategy)


def _describe(model, step, known_by):
    """What is known of a model.

    Args:
        model: with its network.
        step: as which it is exported.
        known_by: {directory: step of the weights there}; the first one that knows it counts.
    """
    names = [saved_class_names(directory) for directory in known_by]
    class_names = class_names_or_numbers(len(model.class_names), *names)
    metrics, data, saved_calibration = {}, {}, None
    for directory, step_there in reversed(known_by.items()):
        data = run_files.read_json(directory / run_files.DATA) or data
        if directory == model.directory and model.has_other_preprocessing:
            continue  # what was measured there does not hold
        saved_calibration = calibration.of_weights(directory, step_there) or saved_calibration
        result = run_files.read_json(directory / run_files.result_of_step(step_there))
        metrics = result or metrics
    backbone = backbones.description(model.settings.model)
    return ModelDescription(
        model.settings,
        class_names,
        step,
        metrics,
        data,
        saved_calibration,
        backbone,
        trained_steps=model.step,
    )

"""`results.json`: all that is known of a run, for machines and for the report."""

import platform
import shlex

import keras
import tensorflow as tf

import tf_simclr
from tf_simclr import distribute
from tf_simclr.config import Config
from tf_simclr.config.stages import BEST_DIRECTORY
from tf_simclr.report.schema import SCHEMA, VERSION
from tf_simclr.runs.files import BEST_RECORD, read_json


def document(experiment, step, about, findings, evaluated, shown):
    """The content of `results.json`, as README describes it.

    Args:
        about: {"total_steps", "labels", "parameters", "train_minutes"}. findings: `Findings`. evaluated: `measure.Data`.
        shown: further parts, see `showcase.show`.
    """
    settings = experiment.settings
    run = {
        "name": experiment.directory.path.resolve().name,
        "train_mode": settings.objective.train_mode,
        "dataset": settings.data.dataset,
        "train_split": settings.data.train_split,
        "eval_split": settings.data.eval_split,
        "step": step,
        **{name: about[name] for name in ("total_steps", "labels", "parameters", "train_minutes")},
        "images": experiment.num_known,
        "evaluated_examples": evaluated.test.num_examples,
        "fitted_examples": evaluated.train.num_examples if evaluated.train is not None else 0,
        "class_names": list(experiment.class_names or experiment.train_source.class_names),
        "layers": [place for place in findings.figures.get("trained", {}) if place != "classifier"],
    }
    best = read_json(experiment.directory.path / BEST_DIRECTORY / BEST_RECORD)
    if best:
        criterion = f"{best['criterion']} on {best['held_out']} held-out training images"
        shown = {
            **shown,
            "best": {"step": best["step"], "value": best["value"], "criterion": criterion},
        }
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "run": run,
        "flags": settings.flat(),
        "environment": _environment(experiment),
        "command": command(settings, "eval" if experiment.imported else "train_then_eval"),
        "figures": findings.figures,
        "details": findings.details,
        "left_out": findings.left_out,
        **shown,
    }


def command(settings, mode):
    """A command line that does the same again in a new run directory."""
    default = Config().flat()
    flags = {
        name: value
        for name, value in settings.flat().items()
        if value != default[name] and name not in ("mode", "model_dir")
    }
    given = [
        f"--{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in flags.items()
    ]
    return shlex.join(["python", "run.py", f"--mode={mode}", "--model_dir=NEW", *given])


def _environment(experiment):
    return {
        "tf_simclr": tf_simclr.__version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "platform": platform.platform(),
        "devices": distribute.describe(experiment.strategy),
    }

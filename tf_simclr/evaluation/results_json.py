"""The content of `results.json`: everything that is known of a run, see docs/evaluation.md."""

import platform
import shlex

import keras
import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.config import Config
from tf_simclr.config.values import as_flag
from tf_simclr.config.version import __version__
from tf_simclr.evaluation.network_features import EvaluationData
from tf_simclr.evaluation.results import Results
from tf_simclr.report.schema import SCHEMA, VERSION
from tf_simclr.runs import files as run_files

# Flags that a repetition of the run does not take over.
NOT_REPEATED = ("mode", "model_dir")


def document(
    directory,
    *,
    settings: Config,
    run: dict,
    class_names: tuple[str, ...],
    data: EvaluationData,
    results: Results,
    report_images: dict,
    mode: str,
    strategy: tf.distribute.Strategy,
) -> dict:
    """The content of `results.json`.

    Args:
        directory: `epath.Path` of the run.
        settings: the whole configuration.
        run: {"step", "total_steps", "labels", "parameters", "train_minutes", "images",
            "learned_labels"}.
        class_names: of the data.
        data: what was evaluated on.
        results: of the evaluation.
        report_images: what the report shows, further keys of the document.
        mode: the --mode that does the same again.
        strategy: how the work is distributed.
    """
    layers = [layer for layer in results.metrics.get("trained", {}) if layer != "classifier"]
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "run": {
            "name": directory.resolve().name,
            "train_mode": settings.objective.train_mode,
            "dataset": settings.data.dataset,
            "train_split": settings.data.train_split,
            "eval_split": settings.data.eval_split,
            **run,
            "evaluated_examples": data.test.num_examples,
            "fitted_examples": data.train.num_examples if data.train is not None else 0,
            "class_names": list(class_names),
            "layers": layers,
        },
        "flags": settings.flat(),
        "environment": _environment(strategy),
        "command": command(settings, mode),
        **results.as_json(),
        **report_images,
        **_best_checkpoint(directory),
        **_held_out_choice(directory),
    }


def _best_checkpoint(directory):
    """{"best": which weights did best on held-out images}, empty if none are kept."""
    best = run_files.read_json(directory / run_files.BEST / run_files.BEST_RECORD)
    if not best:
        return {}
    criterion = f"{best['criterion']} on {best['held_out']} held-out training images"
    return {"best": {"step": best["step"], "value": best["value"], "criterion": criterion}}


def _held_out_choice(directory):
    """{"held_out_choice": what was chosen among what}, empty where nothing was."""
    choice = run_files.read_json(directory / run_files.HELD_OUT_CHOICE)
    return {"held_out_choice": choice} if choice else {}


def command(settings: Config, mode: str) -> str:
    """A command line that does the same again in a new run directory."""
    defaults = Config().flat()
    flags = []
    # Said, since a warm-up that is given on a command line would be kept.
    warmup = {"long_warmup": settings.resolved()["long_warmup"]}
    for name, value in {**settings.flat(), **warmup}.items():
        if value != defaults[name] and name not in NOT_REPEATED:
            flags.append(as_flag(name, value))
    return shlex.join(["python", "run.py", f"--mode={mode}", "--model_dir=NEW", *flags])


def _environment(strategy):
    return {
        "tf_simclr": __version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "platform": platform.platform(),
        "devices": distribute.describe(strategy),
    }

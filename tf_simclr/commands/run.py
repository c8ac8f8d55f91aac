"""Carries out what --mode asks for. TensorFlow is imported only where it is needed."""

import functools
import importlib
import time
from collections.abc import Callable

from absl import flags as absl_flags
from absl import logging

from tf_simclr import console
from tf_simclr.commands import weights
from tf_simclr.commands.stages import Stages
from tf_simclr.config import Config, command_line
from tf_simclr.errors import Failed
from tf_simclr.runs import tracking


def run(configs: list[Config]):
    """Carries out what the configurations ask for.

    Args:
        configs: one for each stage; all have the same --mode.

    Raises:
        UserError: it can't be done.
    """
    command = COMMANDS[configs[0].train.mode]
    command(configs)


def parse(argv: list[str], flag_values: absl_flags.FlagValues) -> list[Config]:
    """The configurations that a command line asks for; the log says what was decided for the user.

    Args:
        argv: name of the program, flags, and at most one folder of images.
        flag_values: without any flags yet.

    Raises:
        UserError: as `command_line.parse`.
    """
    command_line.define(flag_values)
    configs, notes = command_line.parse(argv, flag_values, make_recipe)
    for note in notes:
        logging.info("%s", note)
    return configs


def make_recipe(flags: dict, stage_flags: dict) -> dict:
    """Plans a recipe for --config=auto, see `planning.auto.make_recipe`."""
    began = time.monotonic()  # TensorFlow's start counts, too
    console.start_tensorflow()
    from tf_simclr.commands.planning import auto

    return auto.make_recipe(flags, stage_flags, began)


def run_stages(configs: list[Config]):
    """Trains, evaluates or both, stage by stage."""
    for settings in configs:
        tracking.require(settings.train.track)
    stages = Stages(configs)  # looks into all run directories: what is wrong should show now
    is_chief = True
    is_planned = False
    said = set()
    for number in range(len(configs)):
        if stages.skips(number):
            continue
        console.start_tensorflow()  # which takes seconds, in vain where all stages are finished
        is_chief = run_stage(stages, number, shows_plan=not is_planned, said=said)
        is_planned = True
        if configs[0].plan.plan:
            logging.info("nothing is trained: --plan")
            return
    if is_chief:
        stages.write_results()


def run_stage(stages: Stages, number: int, *, shows_plan: bool, said: set[str]) -> bool:
    """Carries out one stage; what it has built in memory is gone at its end.

    Args:
        stages: all of them.
        number: of the stage.
        shows_plan: whether the plan of this stage and those after it is in the log.
        said: what earlier stages have said of devices and data, which is not said again.

    Returns:
        Whether this process is the one that writes.
    """
    import tensorflow as tf

    from tf_simclr import distribute
    from tf_simclr.commands import held_out_choice, selected_labels
    from tf_simclr.training.experiment import build_experiment

    settings = stages.configs[number]
    later = stages.configs[number + 1 :]
    related = stages.directories_before(number)
    labels = selected_labels.select(settings, related)
    if not settings.plan.plan:
        settings = held_out_choice.settle(settings, related, labels)
    with console.without_repeats(said):
        experiment = build_experiment(
            settings,
            related=related,
            later=later,
            alone=stages.root is None,
            selected_labels=labels,
            on_commit=stages.commit,
        )
    try:
        with experiment.metrics_log:
            _train_and_evaluate(experiment, stages.describe(number), later, shows_plan)
    except (OSError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError):
        # Files that are gone or broken raise these, and so do other things.
        unreadable = experiment.unreadable_images()
        if not unreadable:
            raise
        name, reason = unreadable[0]
        raise Failed(
            f"{name} can't be read any more ({reason}); run the same command again to resume "
            "without it"
        ) from None
    finally:
        # A notebook keeps the last traceback, and with it the experiment and its open lock.
        experiment.directory.unlock()
    return distribute.is_chief(experiment.strategy)


def _train_and_evaluate(experiment, description, later, shows_plan):
    from tf_simclr import distribute
    from tf_simclr.commands import evaluate, evaluate_checkpoints
    from tf_simclr.commands.planning import forecast, stage_table
    from tf_simclr.training import loop

    mode = experiment.settings.mode
    if not mode.trains:
        evaluate_checkpoints.evaluate_run(experiment)
        return
    on_pace = None
    if distribute.is_chief(experiment.strategy):
        if shows_plan:
            logging.info("the plan:\n\n%s\n", stage_table.of_stages(experiment, later))
        # Of each stage anew: how long its steps take is only roughly known from an earlier one.
        on_pace = functools.partial(forecast.log, experiment, later)
    if experiment.settings.plan.plan:
        return
    loop.fit(experiment, description, on_pace)
    if mode.evaluates:
        evaluate.evaluate_and_export(experiment)


def export(configs: list[Config]):
    """Exports every stage."""
    console.start_tensorflow()
    from tf_simclr.commands.export import export_run

    for settings in configs:
        export_run(settings, alone=len(configs) == 1)


def use_last_stage(command: str) -> Callable[[list[Config]], None]:
    """A command that applies the weights of the last stage to images.

    Args:
        command: the name of a file of this folder, and of the function in it.
    """

    def use(configs):
        console.start_tensorflow()
        module = importlib.import_module(f"tf_simclr.commands.{command}")
        function = getattr(module, command)
        function(configs[-1], alone=len(configs) == 1)

    return use


def report(configs: list[Config]):
    """Writes the page over several runs."""
    Stages(configs).write_report()


COMMANDS = {  # by --mode
    "train": run_stages,
    "eval": run_stages,
    "train_then_eval": run_stages,
    "export": export,
    "embed": use_last_stage("embed"),
    "select": use_last_stage("select"),
    "search": use_last_stage("search"),
    "predict": use_last_stage("predict"),
    "inspect": use_last_stage("inspect"),
    "report": report,
    "weights": weights.list_models,
}

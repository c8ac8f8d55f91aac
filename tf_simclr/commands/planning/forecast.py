"""How long all stages will train, foretold from the first steps of each of them."""

import tqdm
from absl import logging

from tf_simclr.commands.planning.costs import FORWARD_SHARE
from tf_simclr.commands.planning.stage_table import UNKNOWN, stage_name
from tf_simclr.config import Config
from tf_simclr.config.automatic import resolve_stem
from tf_simclr.config.backbones import is_published
from tf_simclr.config.length import total_steps
from tf_simclr.models.resnet import FAMILY
from tf_simclr.runs import files as run_files
from tf_simclr.training.experiment import Experiment
from tf_simclr.training.training_data import num_images_of

IMAGENET_STEM_STRIDE = 4
SELECTIVE_KERNEL_WORK = 1.5  # times the multiplications of a block without: a 3x3 layer is doubled


def log(experiment: Experiment, later: list[Config], seconds_per_step: float):
    """Logs the `text`."""
    logging.info("%s", text(experiment, later, seconds_per_step))


def text(experiment: Experiment, later: list[Config], seconds_per_step: float) -> str:
    """The times of the trainings of all stages, without their evaluations.

    Args:
        experiment: the stage that is trained now.
        later: the stages after it.
        seconds_per_step: of the stage that is trained now.
    """
    stages = [experiment.settings, *later]
    seconds = [_seconds(stage, stages, experiment, seconds_per_step) for stage in stages]
    known = [number for number in seconds if number is not None]
    parts = [f"{stage_name(stage)} {_time(number)}" for stage, number in zip(stages, seconds)]
    names = [stage_name(stage) for stage, number in zip(stages, seconds) if number is None]
    without = ", ".join(["evaluations", *names])
    total = f"{_time(sum(known))} in all without {without}" if len(known) > 1 else ""
    listed = "; ".join(filter(None, [", ".join(parts), total]))
    return f"at {seconds_per_step:.3g} s a step the training takes about: {listed}"


def _seconds(stage, stages, experiment, seconds_per_step):
    """Of a stage; None where it can't be foretold."""
    if stage is experiment.settings:
        return seconds_per_step * experiment.num_steps
    if stage.backbone != experiment.settings.backbone:
        return None
    num_images = num_images_of(stage, experiment.settings, experiment.data)
    work, known_work = work_of_step(stage, stages), work_of_step(experiment.settings, stages)
    if None in (num_images, work, known_work):
        return None
    num_steps = total_steps(stage.train, num_images)
    return seconds_per_step * num_steps * work / known_work


def work_of_step(stage: Config, stages: list[Config]) -> float | None:
    """The multiplications of a step, in a unit of their own.

    Args:
        stage: whose step it is.
        stages: among which its teacher may be; another one is taken to be as large as the student.

    Returns:
        None where it is not known how many pixels the network sees of an image.
    """
    mode = stage.objective.train_mode
    has_views_of_its_own = mode == "pretrain" and stage.pretext.pretext != "simclr"
    if has_views_of_its_own or mode == "semi":
        return None
    views = 2 if mode == "pretrain" else 1
    work = views * work_of_view(stage)
    if mode == "distill":
        teacher = _teacher(stage, stages) or stage
        if teacher.backbone != stage.backbone:
            return None
        work += FORWARD_SHARE * work_of_view(teacher)
    return stage.train.train_batch_size * work


def _teacher(stage, stages):
    """The stage whose weights are the teacher; None: it is from elsewhere."""
    path = stage.objective.teacher_checkpoint.removesuffix(f"/{run_files.BEST}")
    return next((other for other in stages if other.train.model_dir == path), None)


def work_of_view(stage: Config) -> float:
    """As `work_of_step`, of one image that the network is trained on."""
    model, size = stage.model, stage.data.image_size
    if is_published(model.backbone):
        return size**2  # of the same network, which is all that is compared
    _, num_blocks = FAMILY[model.resnet_depth]
    has_small_stem = resolve_stem(model.stem, size) == "cifar"
    side = size if has_small_stem else size / IMAGENET_STEM_STRIDE
    kernels = SELECTIVE_KERNEL_WORK if model.sk_ratio else 1
    return sum(num_blocks) * kernels * (model.width_multiplier * side) ** 2


def _time(seconds):
    return UNKNOWN if seconds is None else tqdm.tqdm.format_interval(round(seconds))

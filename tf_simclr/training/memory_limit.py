"""Refuses a batch that can't fit into the memory, before anything is computed.

The estimate is a lower bound: what it refuses could not have worked.
"""

import dataclasses
import pathlib

import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.config import Config
from tf_simclr.config.backbones import is_published
from tf_simclr.config.registry import REMATERIALIZE
from tf_simclr.config.rules import takes_whole_batches
from tf_simclr.errors import UserError
from tf_simclr.models import footprint
from tf_simclr.models.footprint import Footprint
from tf_simclr.objectives.base import Objective

GB = 1e9  # bytes
# What a process had at most, of what the bound says of its activations, and without any: see
# docs/performance.md.
USUAL_FACTOR = 1.8
LIBRARIES = 1.2 * GB
SLOTS = {"momentum": 1, "lars": 1, "adam": 2}  # float32 numbers of a weight in the optimizer
FLOAT32 = 4  # bytes
ALL_FROZEN = 4  # --fine_tune_after_block
CGROUP_LIMITS = (  # below the group's folder, then of all
    "/sys/fs/cgroup{group}/memory.max",
    "/sys/fs/cgroup/memory{group}/memory.limit_in_bytes",
)


@dataclasses.dataclass(frozen=True)
class StepMemory:
    """Bytes that a training step takes at least on this machine.

    Attributes:
        weights: and the optimizer.
        image: of an image of the batch as it waits for the step.
        activations: of an example in the network.
        share: of a batch that is computed here; the others are on other workers.
        accumulate_steps: parts of a batch of which one has activations.
    """

    weights: int
    image: int
    activations: int
    share: float
    accumulate_steps: int

    def of(self, batch_size: int) -> float:
        """Of a batch."""
        num_images = batch_size * self.share
        activations = self.activations * num_images / self.accumulate_steps
        return self.weights + self.image * num_images + activations

    def fits(self, batch_size: int, limit: float) -> bool:
        """Whether a batch usually fits, which needs more than the bound."""
        return LIBRARIES + USUAL_FACTOR * self.of(batch_size) <= limit


def check(objective: Objective, settings: Config, strategy: tf.distribute.Strategy):
    """Checks the batch sizes.

    Args:
        objective: whose variables need not exist.
        settings: the whole configuration.
        strategy: with the replicas.

    Raises:
        UserError: a batch needs more than the memory of this machine.
    """
    limit = machine_memory()
    if limit is None or isinstance(strategy, tf.distribute.TPUStrategy):
        return
    step = step_memory(objective, settings, strategy)
    batch_size = settings.train.train_batch_size
    if step.of(batch_size) > limit:
        raise UserError(
            f"--train_batch_size={batch_size}: a training step takes at least "
            f"{_gigabytes(step.of(batch_size))} of memory, and there are {_gigabytes(limit)}; "
            f"{_way_out(step, objective, settings, strategy, limit)}"
        )
    _check_evaluation(objective, settings, step, limit)


def step_memory(
    objective: Objective, settings: Config, strategy: tf.distribute.Strategy
) -> StepMemory:
    """The memory of a training step; on GPUs, whose memory is not known, that of the images."""
    network = _footprint(objective, settings)
    count, size = objective.encoder_input
    bytes_of_number = FLOAT32 if settings.model.precision == "float32" else FLOAT32 // 2
    on_gpu = bool(tf.config.list_logical_devices("GPU"))
    numbers_of_weight = 1 + SLOTS[settings.optimizer.optimizer]
    is_frozen = settings.model.fine_tune_after_block == ALL_FROZEN
    return StepMemory(
        weights=0 if on_gpu else network.weights * numbers_of_weight * FLOAT32,
        # Of a frozen network its features may be all that is left of the images.
        image=0 if is_frozen else footprint.COLORS * size**2,
        activations=0 if on_gpu else count * network.kept * bytes_of_number,
        share=1 / distribute.num_workers(strategy),
        accumulate_steps=settings.train.accumulate_steps,
    )


def _footprint(objective, settings) -> Footprint:
    _, size = objective.encoder_input
    after_block = settings.model.fine_tune_after_block
    first_trained = after_block + 1
    return footprint.of(
        objective.encoder,
        size,
        first_trained=first_trained,
        rematerialize=settings.train.rematerialize,
    )


def _check_evaluation(objective, settings, step, limit):
    """An evaluation keeps its images as float32, and the last map that was computed."""
    if not (settings.mode.evaluates or settings.eval.eval_every_epochs):
        return
    size = settings.data.image_size
    numbers = footprint.COLORS * size**2
    batch_size = settings.eval.eval_batch_size
    needed = batch_size * step.share * numbers * FLOAT32
    if needed > limit:
        raise UserError(
            f"--eval_batch_size={batch_size}: its images take {_gigabytes(needed)} of memory, and "
            f"there are {_gigabytes(limit)}; the default is 256, and metrics do not depend on it"
        )


def _way_out(step, objective, settings, strategy, limit):
    """The flags with which a step usually fits."""
    train = settings.train
    num_replicas = strategy.num_replicas_in_sync
    unit = num_replicas * train.accumulate_steps
    largest = _largest_power_of_two(lambda size: step.fits(size, limit), train.train_batch_size)
    ways = []
    if largest and largest % unit == 0:
        ways.append(f"--train_batch_size={largest}")
    parts = _parts(step, train, num_replicas, limit)
    if parts and not takes_whole_batches(settings.flat()):
        ways.append(f"--accumulate_steps={parts}, which takes the batch in parts")
    recomputed = _what_to_recompute(objective, settings, strategy, limit)
    if recomputed is not None:
        ways.append(f"--rematerialize={recomputed}, which keeps less of each image")
    if not largest:
        is_resnet = not is_published(settings.model.backbone)
        smaller = "--width_multiplier or --resnet_depth" if is_resnet else "--backbone"
        return f"a single image does not fit: take a smaller --image_size, {smaller}"
    return f"try {', or '.join(ways)}"


def _what_to_recompute(objective, settings, strategy, limit):
    """The cheapest --rematerialize with which the batch fits, if any is left to take."""
    train = settings.train
    if is_published(settings.model.backbone):
        return None
    current = REMATERIALIZE.index(train.rematerialize)
    for what in REMATERIALIZE[current + 1 :]:
        less = step_memory(objective, settings.replace(rematerialize=what), strategy)
        if less.fits(train.train_batch_size, limit):
            return what
    return None


def _largest_power_of_two(fits, below):
    """0: not even 1."""
    size = 1
    if not fits(size):
        return 0
    while 2 * size < below and fits(2 * size):
        size *= 2
    return size


def _parts(step, train, num_replicas, limit):
    """The smallest power of two as `accumulate_steps` with which the batch fits; 0: none."""
    parts = 2 * train.accumulate_steps
    while train.train_batch_size % (parts * num_replicas) == 0:
        in_parts = dataclasses.replace(step, accumulate_steps=parts)
        if in_parts.fits(train.train_batch_size, limit):
            return parts
        parts *= 2
    return 0


def machine_memory() -> float | None:
    """Bytes that this process can have, swap included; None: not known.

    In a container this is the container's limit.
    """
    sizes = _meminfo()
    if "MemTotal" not in sizes:
        return None
    limits = [sizes["MemTotal"], *_cgroup_limits()]
    return min(limits) + sizes.get("SwapTotal", 0)


def _meminfo():
    """{name: bytes} of Linux; empty on other systems."""
    path = pathlib.Path("/proc/meminfo")
    if not path.exists():
        return {}
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) == 3}


def _cgroup_limits(root: str = ""):
    """Yields the limits in bytes of the groups that this process is in."""
    membership = pathlib.Path(f"{root}/proc/self/cgroup")
    groups = {""}
    if membership.exists():
        lines = membership.read_text(encoding="utf-8").splitlines()
        groups |= {line.split(":", 2)[2] for line in lines}
    for pattern in CGROUP_LIMITS:
        for group in groups:
            path = pathlib.Path(root + pattern.format(group=group.rstrip("/")))
            text = path.read_text(encoding="utf-8").strip() if path.exists() else ""
            if text.isdigit():
                yield int(text)


def _gigabytes(size):
    return f"{size / GB:,.1f} GB"

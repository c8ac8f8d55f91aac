"""TensorBoard events -> curves."""

import dataclasses
import math

import numpy as np

MAX_POINTS = 300  # more of them only make the page heavy


@dataclasses.dataclass(frozen=True)
class Curve:
    """A scalar over the training.

    Attributes:
        steps: int64 [N], ascending.
        values: float64 [N], finite.
    """

    steps: np.ndarray
    values: np.ndarray


def read(directory) -> dict[str, Curve]:
    """The curves of a run.

    Args:
        directory: `epath.Path` of the run; its subdirectories are not read.

    Returns:
        {tag: curve} of all scalars that have a finite value.
    """
    if not any("tfevents" in path.name for path in directory.iterdir()):
        return {}
    # Late: it takes seconds to import.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    events = EventAccumulator(
        str(directory), size_guidance={"tensors": 0}, purge_orphaned_data=False
    )
    events.Reload()
    curves = {}
    for tag in events.Tags()["tensors"]:
        if events.SummaryMetadata(tag).plugin_data.plugin_name != "scalars":
            continue
        points = []
        for event in events.Tensors(tag):
            points.append((event.step, float(tensor_util.make_ndarray(event.tensor_proto))))
        curve = make_curve(points)
        if len(curve.steps):
            curves[tag] = curve
    return curves


def make_curve(points: list[tuple[int, float]]) -> Curve:
    """A curve of (step, value) in the order of writing.

    A restart takes back what was written at its first step and after it.
    """
    kept = []
    for step, value in points:
        while kept and kept[-1][0] >= step:
            kept.pop()
        kept.append((step, value))
    finite = _thinned([point for point in kept if math.isfinite(point[1])])
    steps = np.array([step for step, _ in finite], np.int64)
    return Curve(steps, np.array([value for _, value in finite]))


def _thinned(points):
    """At most `MAX_POINTS`, each the mean of its neighbors; the first and the last stay."""
    if len(points) <= MAX_POINTS:
        return points
    groups = np.array_split(np.array(points[1:-1]), MAX_POINTS - 2)
    means = [(int(group[-1, 0]), group[:, 1].mean()) for group in groups]
    return [points[0], *means, points[-1]]

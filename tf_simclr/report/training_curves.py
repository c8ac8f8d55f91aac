"""TensorBoard events -> curves."""

import dataclasses
import math

import numpy as np

MOST_POINTS = 300  # more of them only make the page heavy


@dataclasses.dataclass(frozen=True)
class Curve:
    """steps: int64 [N], ascending. values: float64 [N], finite."""

    steps: np.ndarray
    values: np.ndarray


def read(directory):
    """{tag: Curve} of all scalars in the event files of a run directory itself."""
    if not any("tfevents" in path.name for path in directory.iterdir()):
        return {}
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator,
    )  # late: it takes seconds to import
    from tensorboard.util import tensor_util

    events = EventAccumulator(
        str(directory), size_guidance={"tensors": 0}, purge_orphaned_data=False
    )
    events.Reload()
    found = {}
    for tag in events.Tags()["tensors"]:
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            found[tag] = curve(
                (event.step, float(tensor_util.make_ndarray(event.tensor_proto)))
                for event in events.Tensors(tag)
            )
    return {tag: one for tag, one in found.items() if len(one.steps)}


def curve(points):
    """A `Curve` of (step, value) in the order of writing: a restart takes back what was written at its first step and after it."""
    kept = []
    for step, value in points:
        while kept and kept[-1][0] >= step:
            kept.pop()
        kept.append((step, value))
    kept = _thinned([(step, value) for step, value in kept if math.isfinite(value)])
    return Curve(
        np.array([step for step, _ in kept], np.int64), np.array([value for _, value in kept])
    )


def _thinned(points):
    """At most `MOST_POINTS`, each the mean of its neighbours; the first and the last stay as they are."""
    if len(points) <= MOST_POINTS:
        return points
    inner = np.array_split(np.array(points[1:-1]), MOST_POINTS - 2)
    return [points[0], *((int(part[-1, 0]), part[:, 1].mean()) for part in inner), points[-1]]

"""Images between two classes, spread over different kinds of them."""

import numpy as np

from tf_simclr.curation.selection.base import NotSelectable, Pool, Selection
from tf_simclr.curation.selection.clustering import kmeans
from tf_simclr.evaluation.metrics.base import by_blocks

CANDIDATES_PER_CHOICE = 10  # beta of Zhdanov


def select(pool: Pool, count: int, seed: int) -> Selection:
    """Takes the image nearest to each center of the most uncertain ones.

    Uncertain is what has a small margin between the two likeliest classes. The `count` clusters are
    of the ten times as many most uncertain images, each with the weight 1 - margin.

    Source: Zhdanov 2019 (Diverse mini-batch active learning), algorithm 1 and section 3.3.

    Args:
        pool: all images, with probabilities.
        count: how many.
        seed: of the clustering.

    Raises:
        NotSelectable: there is no classifier.
    """
    if pool.probabilities is None:
        raise NotSelectable(
            "--select_strategy=uncertain needs a classifier, and these weights have none: give a "
            "fine-tuned run, or --select_strategy=typical"
        )
    margins = margin(pool.probabilities)
    candidates = np.flatnonzero(pool.is_candidate)
    order = np.argsort(margins[candidates], kind="stable")
    candidates = candidates[order][: CANDIDATES_PER_CHOICE * count]
    features = pool.features[candidates]
    clusters, centers = kmeans(features, count, seed, weights=1 - margins[candidates])
    index = candidates[_central(features, clusters, centers, count)]
    order = np.argsort(margins[index], kind="stable")
    reasons = [f"the two likeliest classes differ by {margins[i]:.2f}" for i in index[order]]
    cluster_of = dict(zip(candidates, clusters))
    numbers = np.array([cluster_of[i] for i in index[order]])
    return Selection(index[order], numbers, tuple(reasons))


def _central(features, clusters, centers, count):
    """Positions of the image nearest to each center; where a cluster is empty, of the first ones.

    Images that are all alike do not make `count` clusters.
    """
    chosen = []
    for number, center in enumerate(centers):
        members = np.flatnonzero(clusters == number)
        if len(members):
            distance = np.linalg.norm(features[members] - center, axis=1)
            chosen.append(members[distance.argmin()])
    others = np.setdiff1d(np.arange(len(features)), chosen)
    return np.array([*chosen, *others[: count - len(chosen)]])


def margin(probabilities: np.ndarray) -> np.ndarray:
    """How much likelier the likeliest class is than the second one.

    Args:
        probabilities: [N, K]; with a single class the margin is its probability.

    Returns:
        [N].
    """
    if probabilities.shape[1] < 2:
        return probabilities[:, 0]
    return by_blocks(_difference_of_likeliest, probabilities)


def _difference_of_likeliest(probabilities):
    second, first = np.partition(probabilities, (-2, -1), 1)[:, -2:].T
    return first - second

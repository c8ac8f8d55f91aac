"""Which images to label next: a table of strategies, a file each."""

from threadpoolctl import threadpool_limits

from tf_simclr.curation.selection import coverage, random_draw, typical, uncertain
from tf_simclr.curation.selection.base import NotSelectable, Pool, Selection
from tf_simclr.data.source import counted
from tf_simclr.evaluation.metrics import SINGLE_THREAD_SIZE

# Names as in `config.registry.SELECT_STRATEGIES`. Each is a function (pool, count, seed) ->
# `Selection` of `count` of the candidates, of which there are more.
STRATEGIES = {
    "typical": typical.select,
    "coverage": coverage.select,
    "uncertain": uncertain.select,
    "random": random_draw.select,
}
# Up to so many labels a class the most typical images are better than the uncertain ones, see
# benchmarks/selection.py.
FEW_LABELS_PER_CLASS = 10


def select(strategy: str, pool: Pool, count: int, seed: int) -> Selection:
    """Chooses images to label.

    Args:
        strategy: a key of `STRATEGIES`.
        pool: all images.
        count: how many; all candidates where there are no more.
        seed: of random draws, and of where a clustering starts.

    Raises:
        NotSelectable: there is nothing to choose from, or the strategy lacks something.
    """
    pool.check()
    num_candidates = int(pool.is_candidate.sum())
    if not num_candidates:
        raise NotSelectable(
            f"none of the {len(pool)} images is left to be labeled: each has a label, or is a copy "
            "of one that has"
        )
    if num_candidates <= count:
        return Selection.of_all_candidates(pool)
    with threadpool_limits(1 if pool.features.size < SINGLE_THREAD_SIZE else None):
        return STRATEGIES[strategy](pool, count, seed)


def automatic_strategy(pool: Pool, num_classes: int) -> tuple[str, str]:
    """The strategy for so many labels.

    Args:
        pool: all images.
        num_classes: of the labels that exist, and of the classifier.

    Returns:
        (its name, why).
    """
    if pool.probabilities is None:
        return "typical", "these weights have no classifier that could be uncertain"
    num_few = FEW_LABELS_PER_CLASS * num_classes
    labels = f"{counted(pool.num_labeled, 'label')} of {counted(num_classes, 'class')}"
    if pool.num_labeled < num_few:
        return "typical", f"{labels} are few, less than {num_few}"
    return "uncertain", f"{labels} are no longer few, {num_few} or more"

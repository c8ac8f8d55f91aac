"""Which network the time is enough for, by the pace of a few."""

from collections.abc import Callable, Sequence

from tf_simclr.commands.planning.budget import StagePlan
from tf_simclr.commands.planning.costs import Pace
from tf_simclr.commands.planning.networks import Candidate

MAX_TRIALS = 3
ENOUGH_EPOCHS = 60  # of pretraining, for a larger network to pay
ENOUGH_STEPS = 2500  # of pretraining, whatever the epochs


def is_enough(plan: StagePlan) -> bool:
    """Whether a network is pretrained for long enough that it is not too large for the time."""
    return plan.epochs >= ENOUGH_EPOCHS or plan.steps >= ENOUGH_STEPS


def choose(
    candidates: Sequence[Candidate],
    work_of: Callable[[Candidate], float],
    measure: Callable[[Candidate], Pace],
    suits: Callable[[Candidate, Pace], bool],
) -> tuple[Candidate, dict[Candidate, Pace]]:
    """Chooses the largest network that the time is enough for, by the pace of a few.

    The smallest is timed first; then the largest that suits by what is known so far, until that one
    is timed itself.

    Args:
        candidates: the one with the least work first.
        work_of: the work of a step of a candidate.
        measure: times a candidate.
        suits: whether the time is enough for a candidate at a pace.

    Returns:
        (what is chosen, the paces that were measured).
    """
    paces = {candidates[0]: measure(candidates[0])}
    while True:
        best = candidates[0]
        for candidate in candidates:
            if suits(candidate, _pace_of(candidate, paces, work_of)):
                best = candidate
        if best in paces:
            return best, paces
        if len(paces) == MAX_TRIALS:
            suiting = [candidate for candidate in paces if suits(candidate, paces[candidate])]
            return max(suiting or [candidates[0]], key=work_of), paces
        paces[best] = measure(best)


def _pace_of(candidate, paces, work_of):
    """As it was measured, or else by that of the candidate that is nearest in its work."""
    if candidate in paces:
        return paces[candidate]
    work = work_of(candidate)
    nearest = min(paces, key=lambda timed: max(work_of(timed) / work, work / work_of(timed)))
    return paces[nearest].scaled(work / work_of(nearest))

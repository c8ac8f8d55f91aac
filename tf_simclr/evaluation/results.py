"""What an evaluation has found."""

import dataclasses

MAIN = ("classifier", "final_avg_pool", "pixels")  # places whose figures go by their bare names
PREFIXES = {"trained": "eval", "untrained": "untrained", "pixels": "pixels"}


@dataclasses.dataclass
class Results:
    """Figures (floats) and details (what the report shows of them): {network: {place: {name: value}}}.

    Networks are `trained`, `untrained` and `pixels`; places are layers, and `classifier`. `left_out`: [{"network", "place", "evaluation",
    "reason"}].
    """

    figures: dict = dataclasses.field(default_factory=dict)
    details: dict = dataclasses.field(default_factory=dict)
    left_out: list = dataclasses.field(default_factory=list)

    def add(self, network, place, figures, details):
        """Puts in what one evaluation has given."""
        for ours, new in ((self.figures, figures), (self.details, details)):
            ours.setdefault(network, {}).setdefault(place, {}).update(new)

    def leave_out(self, network, place, evaluation, reason):
        """Puts in that an evaluation was not possible."""
        self.left_out.append(
            {"network": network, "place": place, "evaluation": evaluation, "reason": reason}
        )

    def include(self, figures, details, left_out):
        """Puts in all that other findings, of further networks, have."""
        self.figures |= figures
        self.details |= details
        self.left_out += left_out

    def flat(self):
        """{"eval/knn_accuracy": 0.9, "eval/block_group3/knn_accuracy": 0.8, "untrained/...", "pixels/..."}."""
        return {
            f"{PREFIXES[network]}/{name if place in MAIN else f'{place}/{name}'}": value
            for network, places in self.figures.items()
            for place, figures in places.items()
            for name, value in figures.items()
        }

"""How many labels an accuracy takes: a law fitted to the accuracies with few labels.

The law is error(n) = factor * n^-exponent + offset for n labels in all, a power law as in Viering
and Loog, "The Shape of Learning Curves: a Review" (2023). Its interval comes from fits to resampled
curves: other draws of the labels, other test images, and a law that holds only roughly. How much of
each was chosen on curves that go on to ten times the labels; `benchmarks.label_law` checks it on
others.
"""

import dataclasses

import numpy as np

TARGETS = (0.9, 0.95, 0.99)  # accuracies
# Times the most labels that were measured: at ten times as many the interval had the truth in less
# than half of the cases.
MAX_EXTRAPOLATION = 5
MIN_POINTS = 4  # a law of three parameters fits any three
EXPONENTS = np.linspace(0.02, 2, 199)
# What little a few points say of the offset is held against a guess of its scale, as a share of
# the last error; without it most fits would level off right behind the last point.
OFFSET_SCALE = 0.25
# Deviation of errors from the law: a share of the error, and one of the standard error of counting
# wrong answers. The latter is not all of it since the same images are tested at each point.
LAW_DEVIATION = 0.02
COUNTING_SHARE = 0.5
NUM_RESAMPLED = 200
INTERVAL = (0.1, 0.9)  # quantiles
FORETOLD = (0.025, 0.975)  # quantiles between which the last point has to lie


@dataclasses.dataclass(frozen=True)
class Laws:
    """Fitted laws; the first one is that of the curve itself, the others of resampled curves.

    Attributes:
        factor: [R].
        exponent: [R].
        offset: [R], the error that is left however many labels there are.
    """

    factor: np.ndarray
    exponent: np.ndarray
    offset: np.ndarray

    def errors(self, labels: float) -> np.ndarray:
        """[R], the error of each law with so many labels."""
        return self.factor * labels**-self.exponent + self.offset

    def labels_for(self, errors: np.ndarray) -> np.ndarray:
        """[R], the labels with which each law has such an error; infinite where it never has."""
        above_offset = errors - self.offset
        is_reached = (above_offset > 0) & (self.factor > 0)
        ratio = np.divide(self.factor, above_offset, where=is_reached, out=np.ones(len(errors)))
        with np.errstate(over="ignore"):
            return np.where(is_reached, ratio ** (1 / self.exponent), np.inf)


@dataclasses.dataclass(frozen=True)
class Curve:
    """Errors with more and more labels.

    Attributes:
        labels: float64 [P], labels in all, rising.
        draws: of each point the errors of its draws of labels.
        num_tested: test examples that the errors are counted on.
    """

    labels: np.ndarray
    draws: list[np.ndarray]
    num_tested: int

    @property
    def means(self) -> np.ndarray:
        """float64 [P], the mean errors; half a wrong answer where there is none."""
        means = np.array([np.mean(errors) for errors in self.draws])
        return np.maximum(means, 0.5 / self.num_tested)

    def standard_errors(self) -> np.ndarray:
        """float64 [P] of the means; a single draw is taken to be as uncertain as one before it."""
        deviations = []
        for errors in self.draws:
            if len(errors) > 1:
                deviations.append(np.std(errors, ddof=1))
            else:
                deviations.append(deviations[-1] if deviations else 0.0)
        counts = [len(errors) for errors in self.draws]
        return np.array(deviations) / np.sqrt(counts)

    def deviations(self, errors: np.ndarray) -> np.ndarray:
        """How far measured errors may be from the law, as a share of them."""
        likely = np.clip(errors, 0.5 / self.num_tested, 1.0)
        counting = (1 - likely) / (likely * self.num_tested)
        return np.sqrt(LAW_DEVIATION**2 + COUNTING_SHARE**2 * counting)

    def shortened(self) -> "Curve":
        """The curve without its last point."""
        return Curve(self.labels[:-1], self.draws[:-1], self.num_tested)

    def resampled(self, count: int) -> np.ndarray:
        """Mean errors [count, P] of curves that might have been measured as well; seeded."""
        rng = np.random.default_rng(0)
        means = self.means
        shape = (count, len(means))
        noise = self.standard_errors() * rng.standard_normal(shape)
        for point, errors in enumerate(self.draws):
            num_draws = len(errors)
            if num_draws > 1:
                drawn = rng.choice(errors, (count, num_draws)).mean(1)
                # Draws with replacement scatter less than the mean does.
                widening = np.sqrt(num_draws / (num_draws - 1))
                noise[:, point] = (drawn - np.mean(errors)) * widening
        likely = np.maximum(means + noise, 0.5 / self.num_tested)
        return likely * np.exp(self.deviations(means) * rng.standard_normal(shape))


def answer(labels: list[int], accuracies: list[list[float]], num_tested: int) -> dict:
    """How many labels the accuracies `TARGETS` take.

    Args:
        labels: [P], labels in all at each point, rising.
        accuracies: of each point those of its draws.
        num_tested: test examples of the accuracies.

    Returns:
        {"labels" (the most that were measured), "limit" (five times as many, up to which the law is
        asked), "reason" (why there is no law, or None), "law": {"factor", "exponent", "offset",
        "ceiling" (the accuracy above which hardly a resampled law levels off)} if there is one,
        "targets": [{"accuracy", "labels", "low", "high"}], "band": [{"labels",
        "accuracy", "low", "high"}]}. The targets are those above the accuracy with the most
        labels; what lies beyond the limit or is not known is None.
    """
    draws = [1 - np.asarray(values) for values in accuracies]
    curve = Curve(np.asarray(labels, np.float64), draws, num_tested)
    reached = 1 - np.mean(draws[-1])
    wanted = [accuracy for accuracy in TARGETS if accuracy > reached]
    result = {
        "labels": int(labels[-1]),
        "limit": MAX_EXTRAPOLATION * int(labels[-1]),
        "reason": too_little(curve) or not_foretold(curve),
    }
    if result["reason"]:
        unknown = {"labels": None, "low": None, "high": None}
        targets = [{"accuracy": accuracy, **unknown} for accuracy in wanted]
        return {**result, "targets": targets, "band": []}
    laws = fit(curve)
    offset, _ = _interval(laws.offset)
    law = {
        "factor": laws.factor[0],
        "exponent": laws.exponent[0],
        "offset": laws.offset[0],
        "ceiling": 1 - offset,
    }
    return {
        **result,
        "targets": [_target(laws, curve, accuracy) for accuracy in wanted],
        "law": {name: float(value) for name, value in law.items()},
        "band": _band(laws, curve),
    }


def fit(curve: Curve) -> Laws:
    """The law of a curve and those of seeded resampled curves.

    Returns:
        `Laws` with R = 1 + NUM_RESAMPLED.
    """
    means = curve.means
    deviations = np.hypot(curve.standard_errors(), curve.deviations(means) * means)
    errors = np.concatenate([[means], curve.resampled(NUM_RESAMPLED)])
    return _least_squares(curve.labels, errors, deviations)


def _least_squares(labels, errors, deviations):
    """Weighted least squares with no parameter below 0, for each exponent in closed form.

    Args:
        labels: [P].
        errors: [R, P].
        deviations: [P] of the errors.

    Returns:
        `Laws` of R.
    """
    relative = labels / labels[-1]  # so that factor and offset are of one scale
    weights = deviations**-2.0
    powers = relative ** -EXPONENTS[:, None]  # [E, P]
    # The normal equations of the two columns, powers and ones.
    powers_powers = (weights * powers**2).sum(1)[:, None]  # [E, 1]
    powers_ones = (weights * powers).sum(1)[:, None]
    ones_ones = weights.sum() + (OFFSET_SCALE * errors[0, -1]) ** -2.0
    powers_errors = (weights * powers) @ errors.T  # [E, R]
    ones_errors = errors @ weights  # [R]
    determinant = powers_powers * ones_ones - powers_ones**2
    offset = (powers_powers * ones_errors - powers_ones * powers_errors) / determinant
    offset = np.clip(offset, 0, ones_errors / ones_ones)  # at most the one without any powers
    factor = np.maximum(powers_errors - offset * powers_ones, 0) / powers_powers
    gain = factor * powers_errors + offset * ones_errors  # of the sum of squares
    best = gain.argmax(0)
    resamples = np.arange(len(errors))
    exponent = EXPONENTS[best]
    factor = factor[best, resamples] * labels[-1] ** exponent
    return Laws(factor, exponent, offset[best, resamples])


def too_little(curve):
    """Why a curve can't have a law, in words; None: it can."""
    num_points = len(curve.labels)
    if num_points < MIN_POINTS:
        return (
            f"there are labels for {num_points} point{'s' * (num_points > 1)} of the curve, and a "
            f"law takes {MIN_POINTS}"
        )
    first, *_, last = curve.means
    uncertainties = curve.standard_errors()
    if first - last <= 2 * np.hypot(uncertainties[0], uncertainties[-1]):
        return (
            f"the accuracy does not clearly rise with the labels, from {1 - first:.1%} with "
            f"{curve.labels[0]:,.0f} to {1 - last:.1%} with {curve.labels[-1]:,.0f}"
        )
    return None


def not_foretold(curve):
    """Why the law of a curve is not to be trusted, in words.

    Without the last point it has to foretell that.

    Returns:
        None if it does.
    """
    laws = fit(curve.shortened())
    low, high = _interval(_measured(curve, laws.errors(curve.labels[-1])), FORETOLD)
    last = np.mean(curve.draws[-1])
    if low <= last <= high:
        return None
    return (
        f"the curve up to {curve.labels[-2]:,.0f} labels foretells {1 - high:.1%} to "
        f"{1 - low:.1%} with {curve.labels[-1]:,.0f}, and {1 - last:.1%} was measured"
    )


def _measured(curve, errors):
    """What may be measured [R] where the errors are those of the laws."""
    noise = np.random.default_rng(1).standard_normal(len(errors))
    return errors * np.exp(curve.deviations(errors) * noise)


def _interval(values, quantiles=INTERVAL):
    # Without interpolation, which between a number and infinity is not a number.
    low, high = np.quantile(values, quantiles, method="nearest")
    return float(low), float(high)


def labels_for(laws: Laws, curve: Curve, error: float) -> tuple[float, float, float]:
    """(estimate, low, high) of the labels with which `error` will be measured; may be infinite."""
    errors = np.full(len(laws.offset), error)
    estimate = float(laws.labels_for(errors)[0])
    low, high = _interval(laws.labels_for(_measured(curve, errors)))
    return estimate, min(low, estimate), max(high, estimate)


def _target(laws, curve, accuracy):
    """The labels that an accuracy takes by the law."""
    estimate, low, high = labels_for(laws, curve, 1 - accuracy)
    most = curve.labels[-1]
    target = {"accuracy": accuracy}
    for name, value in (("labels", estimate), ("low", low), ("high", high)):
        value = max(value, most)  # the most labels that were measured have not reached it
        target[name] = round(float(value)) if value <= MAX_EXTRAPOLATION * most else None
    return target


def _band(laws, curve):
    """The law with its interval, for the chart: at the points measured and beyond."""
    last = curve.labels[-1]
    band = []
    for labels in (*curve.labels, MAX_EXTRAPOLATION / 2 * last, MAX_EXTRAPOLATION * last):
        errors = laws.errors(labels)
        low, high = _interval(errors)
        band.append(
            {
                "labels": round(float(labels)),
                "accuracy": float(1 - errors[0]),
                "low": 1 - high,
                "high": 1 - low,
            }
        )
    return band

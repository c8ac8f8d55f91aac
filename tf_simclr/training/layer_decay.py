"""A learning rate for each depth of the encoder.

Source: BEiT (Bao et al. 2022, appendix), which took it over from ELECTRA (Clark et al. 2020).
"""

import functools


def factors(encoder, decay: float) -> dict[int, float]:
    """What the learning rate of each variable of an encoder is multiplied by.

    Args:
        encoder: with `levels`, from the input to the output.
        decay: factor from one level to the one before it; the last one has it once, heads never.

    Returns:
        {id of a variable: factor}.
    """
    levels = [level for level in encoder.levels if level]
    by_variable = {}
    for distance, level in enumerate(reversed(levels), 1):
        by_variable |= {id(v): decay**distance for v in level}
    return by_variable


@functools.cache
def by_depth(kind: type) -> type:
    """An optimizer class with a learning rate of its own for some variables.

    Args:
        kind: subclass of `keras.optimizers.Optimizer`.

    Returns:
        A subclass of it that takes `factors` as well, {id of a variable: factor}; of others the
        rate is as it is.
    """

    class ByDepth(kind):
        def __init__(self, *args, factors, **kwargs):
            super().__init__(*args, **kwargs)
            self._factor_of_id = factors

        def build(self, variables):
            super().build(variables)
            self._factors = [self._factor_of_id.get(id(v), 1.0) for v in variables]

        def update_step(self, gradient, variable, learning_rate):
            factor = self._factors[self._get_variable_index(variable)]
            super().update_step(gradient, variable, learning_rate * factor)

    return ByDepth

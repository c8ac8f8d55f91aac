"""What holds for the whole process."""

import tensorflow as tf

from tf_simclr.training.devices import set_up_devices


def test_products_are_in_full_float32_where_it_matters(settings):
    """In one stage of a chain, not in the next one."""
    states = []
    for method in ("fixmatch", "vat_entmin", "fixmatch"):
        set_up_devices(settings(train_mode="semi", semi_method=method))
        states.append(tf.config.experimental.tensor_float_32_execution_enabled())
    assert states == [True, False, True]

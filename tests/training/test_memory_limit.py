"""What can't fit is refused before anything is computed; the estimate is a lower bound."""

import math

import pytest
import tensorflow as tf

from tests.helpers.configurations import TINY
from tests.helpers.processes import GROUPS
from tests.helpers.training import Training
from tf_simclr import config
from tf_simclr.errors import UserError
from tf_simclr.models import footprint, resnet
from tf_simclr.models.resnet import ResNet
from tf_simclr.objectives import objective_class
from tf_simclr.training import memory_limit
from tf_simclr.training.experiment import build_experiment

RESNET_18 = {"image_size": 32, "resnet_depth": 18, "width_multiplier": 1.0}
RESNET_50 = {"image_size": 224, "resnet_depth": 50, "width_multiplier": 1.0}
MEASURED = [  # flags, peak of the process in bytes: docs/performance.md
    ({**RESNET_18, "train_batch_size": 64}, 1.92e9),
    ({**RESNET_18, "train_batch_size": 128}, 2.96e9),
    ({**RESNET_18, "train_batch_size": 128, "rematerialize": "norm"}, 2.51e9),
    ({**RESNET_50, "train_batch_size": 4}, 2.36e9),
    ({**RESNET_50, "train_batch_size": 8}, 3.22e9),
    ({**RESNET_50, "train_batch_size": 8, "rematerialize": "norm"}, 3.15e9),
    ({**RESNET_50, "train_batch_size": 8, "rematerialize": "block"}, 2.23e9),
]


@pytest.fixture(autouse=True)
def _memory(monkeypatch):
    """That of the machine, which may be of any size, or not known."""
    monkeypatch.setattr(memory_limit, "machine_memory", lambda: 16e9)


def step_memory(**flags):
    """(bytes of a step at least, whether it usually fits: limit -> bool)."""
    options = config.build({**TINY, **flags})
    objective = objective_class(options)(options, 10, 100)
    step = memory_limit.step_memory(objective, options, tf.distribute.get_strategy())
    batch_size = options.train.train_batch_size
    return step.of(batch_size), lambda limit: step.fits(batch_size, limit)


@pytest.mark.parametrize(("flags", "measured"), MEASURED)
def test_it_is_a_lower_bound(flags, measured):
    bound, fits = step_memory(**flags)
    assert 0.3 * measured < bound < 0.6 * measured or flags.get("rematerialize") == "block"
    assert bound < measured
    assert not fits(0.9 * measured) and fits(1.5 * measured)


def test_weights_are_counted_as_they_are(monkeypatch):
    for depth, sk_ratio in ((18, 0), (50, 0.0625)):
        monkeypatch.setitem(resnet.FAMILY, depth, (resnet.FAMILY[depth][0], GROUPS))
        encoder = ResNet(depth, 0.25, sk_ratio=sk_ratio, image_size=32)
        counted = footprint.of(encoder, 32, first_trained=0, rematerialize="none").weights
        encoder(tf.zeros([1, 32, 32, 3]))
        kernels = [v for v in encoder.trainable_variables if len(v.shape) == 4]
        total = sum(math.prod(v.shape) for v in kernels)
        assert 0.8 * total < counted <= total


def test_what_takes_less_memory():
    bound, _ = step_memory(train_batch_size=64)
    for flags in (
        {"accumulate_steps": 8},
        {"rematerialize": "norm"},
        {"rematerialize": "block"},
        {"precision": "bfloat16"},
        {"fine_tune_after_block": 2},
        {"train_mode": "supervised"},
    ):
        less, _ = step_memory(train_batch_size=64, **flags)
        assert less < bound, flags


@pytest.mark.parametrize("pretext", ["rotation", "counting"])
def test_the_encoder_sees_what_an_objective_says(pretext):
    options = config.build({**TINY, "pretext": pretext, "color_jitter_strength": 0.0})
    training = Training(options)
    batch = next(iter(training.batches()))
    count, size = training.objective.encoder_input
    images = training.objective.images(batch)
    assert images.shape[:3] == (count * options.train.train_batch_size, size, size)


def test_a_batch_that_cannot_fit(settings, monkeypatch):
    with pytest.raises(UserError) as raised:
        build_experiment(settings(train_batch_size=1_000_000_000, train_steps=3))
    message = str(raised.value)
    assert message.startswith("--train_batch_size=1000000000: a training step takes at least ")
    assert "GB of memory, and there are " in message
    assert "; try --train_batch_size=" in message
    assert "--accumulate_steps" not in message  # its images alone are too much
    monkeypatch.setattr(memory_limit, "machine_memory", lambda: 3e9)
    with pytest.raises(UserError, match=r"or --accumulate_steps=8, which takes"):
        build_experiment(settings(**RESNET_18, train_batch_size=512))
    whole = {"train_mode": "semi", "semi_method": "mpl", "labels_per_class": 2}
    with pytest.raises(UserError) as raised:  # which would be refused
        build_experiment(settings(**RESNET_18, **whole, train_batch_size=512))
    assert "--accumulate_steps" not in str(raised.value)


@pytest.mark.parametrize(
    ("gigabytes", "flag", "advised"),
    [(3.4, "none", "norm"), (3.0, "none", "block"), (3.0, "norm", "block"), (3.0, "block", None)],
)
def test_what_to_recompute(settings, gigabytes, flag, advised):
    """The cheapest of what is left; the bounds are those of docs/performance.md."""
    options = settings(**RESNET_18, train_batch_size=128, rematerialize=flag)
    objective = objective_class(options)(options, 10, 100)
    strategy = tf.distribute.get_strategy()
    limit = gigabytes * 1e9
    assert memory_limit._what_to_recompute(objective, options, strategy, limit) == advised


def test_an_evaluation_that_cannot_fit(settings):
    flags = {"mode": "train_then_eval", "eval_batch_size": 1_000_000_000}
    with pytest.raises(UserError, match=r"--eval_batch_size=1000000000: its images take .* GB"):
        build_experiment(settings(**flags))


def test_a_network_that_cannot_fit(settings):
    flags = {"resnet_depth": 200, "width_multiplier": 16.0, "train_batch_size": 4096}
    with pytest.raises(UserError, match="a single image does not fit: take a smaller"):
        build_experiment(settings(**flags))


@pytest.mark.parametrize(
    "path", ["sys/fs/cgroup/box/memory.max", "sys/fs/cgroup/memory/box/memory.limit_in_bytes"]
)
def test_the_limit_of_a_container(tmp_path, path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/box\n")
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text("4000000000\n")
    assert list(memory_limit._cgroup_limits(str(tmp_path))) == [4_000_000_000]
    file.write_text("max\n")
    assert list(memory_limit._cgroup_limits(str(tmp_path))) == []

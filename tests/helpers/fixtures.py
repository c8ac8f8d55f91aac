"""Two logical CPU devices for every test, and the small things most of them need."""

from tests.helpers import garbage  # isort: skip

import gc
import logging
import random

import hypothesis
import keras
import numpy as np
import psutil
import pytest
import tensorflow as tf
from absl import flags as absl_flags
from absl import logging as absl_logging

import run
from tests.helpers.configurations import TINY
from tests.helpers.eager import eagerly
from tests.helpers.processes import GROUPS
from tests.helpers.seeds import SetSeed
from tf_simclr import config
from tf_simclr.models import resnet

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

# Graphs are made as they are: for a few steps it takes longer to improve them than to run them.
# The whole run and programs that use exports have it on, as those of users.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

garbage.collect_rarely()
MUCH_MEMORY = 150 * 2**20  # bytes

# The same examples in each run, and none of a folder of the user; a busy machine takes longer for
# one than Hypothesis allows by itself.
hypothesis.settings.register_profile(
    "same_everywhere",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("same_everywhere")

LONGEST = (  # files, begun first
    "test_whole_run",
    "test_workers",
    "test_interruptions",
    "test_training",
    "test_consumers",
    "test_export",
    "test_pretext",
    "test_auto",
    "test_run",
    "test_pretrained",
    "test_train_step",
    "test_evaluator",
    "test_hostile_images",
    "test_augment",
    "test_patch_tasks",
    "test_what_a_run_is",
    "test_published_run",
    "test_context_encoder",
    "test_distill_features",
    "test_validation",
    "test_published_backbones",
    "test_recipes",
    "test_held_out_choice",
    "test_semi",
    "test_predict",
    "test_full_disk",
    "test_resnet",
    "test_select",
    "test_numerics",
    "test_embed",
    "test_exemplar",
    "test_report",
    "test_value_range",
)


def pytest_collection_modifyitems(items):
    """The longest files first, so that none is left over for one worker; xdist keeps the order."""
    items.sort(
        key=lambda item: (
            LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST)
        )
    )


@pytest.fixture
def shallow(monkeypatch):
    """ResNet-18 is one block in all: less to trace, where nothing depends on the depth."""
    monkeypatch.setitem(resnet.FAMILY, 18, (resnet.FAMILY[18][0], (1,)))


@pytest.fixture
def four_groups(monkeypatch):
    """ResNet-18 has a block for each group."""
    monkeypatch.setitem(resnet.FAMILY, 18, (resnet.FAMILY[18][0], GROUPS))


@pytest.fixture
def eager():
    """The steps of the test are not compiled, see `eagerly`."""
    with eagerly():
        yield


@pytest.fixture
def few_splits(monkeypatch):
    """The probe chooses its penalty on two divisions of the training examples instead of ten."""
    monkeypatch.setattr("tf_simclr.evaluation.metrics.linear_probe.NUM_SPLITS", 2)


@pytest.fixture
def without_outputs(monkeypatch):
    """A run that ends in this test exports nothing and writes no page and no pictures."""
    from tests.helpers.small_run import leave_out_outputs

    leave_out_outputs(monkeypatch)


@pytest.fixture
def without_page(monkeypatch):
    """A run that ends in this test writes no page and no pictures."""
    from tests.helpers.small_run import leave_out_page

    leave_out_page(monkeypatch)


@pytest.fixture
def settings(tmp_path):
    """A function: flags -> a tiny configuration in a fresh run directory."""
    return lambda **values: config.build({**TINY, "model_dir": str(tmp_path / "run"), **values})


@pytest.fixture(scope="session")
def presets(tmp_path_factory):
    """A folder of tiny published backbones, see `helpers.presets`."""
    from tests.helpers import presets as helper  # takes a second to import

    folder = tmp_path_factory.mktemp("presets")
    helper.save(folder)
    return folder


@pytest.fixture(scope="session")
def two_replicas():
    """MirroredStrategy over two CPU devices, one a process: two collide in their collectives."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture
def log(caplog):
    """What absl logs, which does not propagate by itself."""
    logger = absl_logging.get_absl_logger()
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, logger="absl"):
        yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture
def logged(log):
    """A function: what is logged since its last call, each message once for each time."""

    def logged():
        # A record comes twice where the logger propagates, too.
        records = {id(record): record for record in log.records}
        log.clear()
        return [record.getMessage() for record in records.values()]

    return logged


@pytest.fixture
def main(monkeypatch, capsys):
    """A function: arguments -> (exit status, stderr) of run.py in this process."""

    def call(*arguments):
        monkeypatch.setattr(absl_flags, "FLAGS", absl_flags.FlagValues())
        capsys.readouterr()
        status = run.main(["run.py", *map(str, arguments)])
        return status, capsys.readouterr().err

    return call


@pytest.fixture(autouse=True, scope="module")
def _collection():
    """A collection after a file that has left much behind, since those between are rare.

    What is left is for all files, and takes a second to look at each time.
    """
    before = resident_bytes()
    yield
    if resident_bytes() - before > MUCH_MEMORY:
        gc.collect()
        gc.freeze()


def resident_bytes():
    return psutil.Process().memory_info().rss


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Nothing is written into the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(autouse=True, scope="session")
def _set_seed():
    set_seed = SetSeed()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.random, "set_seed", set_seed)
        yield set_seed


@pytest.fixture(autouse=True, scope="module")
def _tensorflow_seed(_set_seed):
    """Once a file: with each new seed TensorFlow prepares all functions anew."""
    _set_seed.reset(0)


@pytest.fixture(autouse=True)
def _float32_and_seeds():
    """Keras draws the seeds of its layers with Python's generator."""
    keras.config.set_dtype_policy("float32")
    random.seed(0)
    np.random.seed(0)

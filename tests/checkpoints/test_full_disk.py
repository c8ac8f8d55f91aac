"""A full disk: one clear line, what was saved stays, and with room again the run resumes."""

import contextlib
import resource

import pytest

from tests.helpers.processes import DIGITS, HERE, SECONDS_KEY, TINY, newest, the_line, variables
from tests.helpers.small_run import leave_out_outputs

pytestmark = pytest.mark.usefixtures("shallow", "eager")
RUN = [
    *DIGITS,
    *TINY,
    *HERE,
    "--train_steps=4",
    "--checkpoint_steps=2",
    "--eval_batch_size=8",
    "--eval_steps=1",
    "--untrained_baseline=False",
    "--color_jitter_strength=0",
]


@contextlib.contextmanager
def no_file_over(size):
    """Writing a file beyond `size` bytes fails, in this process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return tmp_path_factory.mktemp("undisturbed") / "run"


@pytest.mark.parametrize(
    ("size", "mode"), [(500, "train"), (10_000, "train"), (25_000, "train_then_eval")]
)
def test_full_disk(main, undisturbed, monkeypatch, tmp_path, size, mode):
    """At the first small file, at the first checkpoint, at what comes after them."""
    if not undisturbed.exists():
        status, stderr = main(*RUN, f"--model_dir={undisturbed}", "--mode=train")
        assert status == 0, stderr
    disturbed = [*RUN, f"--model_dir={tmp_path / 'run'}", f"--mode={mode}"]
    with no_file_over(size):
        status, stderr = main(*disturbed)
    assert status == 1 and "Traceback" not in stderr, stderr
    line = the_line(stderr)
    assert "File too large" in line and line == stderr.splitlines()[-1], stderr
    saved = newest(tmp_path / "run")
    leave_out_outputs(monkeypatch)
    status, stderr = main(*disturbed)
    assert status == 0, stderr
    assert not saved or f"ckpt-{saved}" in stderr or "training is complete" in stderr, stderr
    expected, values = variables(undisturbed), variables(tmp_path / "run")
    for name in expected.keys() - {SECONDS_KEY}:
        assert values[name].tobytes() == expected[name].tobytes(), name

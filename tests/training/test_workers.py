"""Two processes as the workers of a cluster: what one process does, and what if one is gone."""

import functools
import json
import signal
import socket

import numpy as np
import pytest

from tests.helpers.processes import (
    DIGITS,
    HERE,
    SECONDS_KEY,
    TINY,
    Fork,
    end_all,
    finish,
    newest,
    the_line,
    variables,
)
from tf_simclr import distribute

RUN = [
    *DIGITS,
    *TINY,
    "--mode=train_then_eval",
    "--eval_batch_size=16",
    "--eval_steps=1",
    "--untrained_baseline=False",
    "--color_jitter_strength=0",  # colors take seconds to compile
]

FEW_STEPS = ["--train_steps=3", "--learning_rate=0.003"]


@pytest.fixture(autouse=True)
def _ended():
    yield
    end_all()


def start_workers(*arguments, directories, signal_after=(None, None)):
    """Two workers, each with a run directory and a signal that it gets; the first is the chief."""
    sockets = [socket.create_server(("localhost", 0)) for _ in directories]
    addresses = [f"localhost:{open_socket.getsockname()[1]}" for open_socket in sockets]
    for open_socket in sockets:
        open_socket.close()
    processes = []
    for index, directory in enumerate(directories):
        task = {"type": "worker", "index": index}
        cluster = json.dumps({"cluster": {"worker": addresses}, "task": task})
        flags = ["--strategy=multi_worker", f"--model_dir={directory}"]
        options = {"signal_after": signal_after[index], "TF_CONFIG": cluster}
        processes.append(Fork(*RUN, *arguments, *flags, **options))
    return processes


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    """Run directories of two workers that have finished; the first is the chief's."""
    folder = tmp_path_factory.mktemp("workers")
    directories = [folder / "chief", folder / "other"]
    for process in start_workers(*FEW_STEPS, directories=directories):
        status, stderr = finish(process)
        assert status == 0, stderr
    return directories


@pytest.mark.usefixtures("shallow", "eager", "without_outputs")
def test_two_workers_equal_one_process(directories, tmp_path, main):
    """Weights and metrics are those of one process; only the chief writes."""
    chief, other = directories
    alone = tmp_path / "alone"
    status, stderr = main(*RUN, *FEW_STEPS, *HERE, f"--model_dir={alone}")
    assert status == 0, stderr
    expected, values = variables(alone), variables(chief)
    assert expected.keys() == values.keys() and len(expected) > 20
    for name in expected.keys() - {SECONDS_KEY}:
        np.testing.assert_allclose(values[name], expected[name], atol=1e-5, err_msg=name)
    assert top_1_accuracy(chief) == pytest.approx(top_1_accuracy(alone), abs=0.02)
    assert (chief / "saved_model" / "3" / "saved_model.pb").exists()
    assert not other.exists() or list(other.iterdir()) == []


def test_workers_without_a_common_directory(directories):
    """The second one does not see the checkpoints of the first."""
    processes = start_workers(*FEW_STEPS, directories=directories)
    (chief_status, _), (status, stderr) = map(finish, processes)
    assert (chief_status, status) == (1, 1), stderr
    message = "the workers do not see the same checkpoints there (here step 0)"
    assert message in the_line(stderr)


def test_workers_agree_on_large_steps(two_replicas, monkeypatch):
    """Beyond 2^24 float32 has only every second number."""
    monkeypatch.setattr(distribute, "_has_several_workers", lambda strategy: True)
    assert distribute.all_workers_agree(two_replicas, 2**24 + 1)


def top_1_accuracy(directory):
    result = json.loads((directory / "result.json").read_text())
    return result["eval/label_top_1_accuracy"]


def test_workers_that_go_away(tmp_path):
    """The chief is killed: the other ends with a clear line. Started again, they resume."""
    run = tmp_path / "run"
    many_steps = ["--train_steps=60", "--checkpoint_steps=5"]
    workers = functools.partial(start_workers, *many_steps, directories=[run, run])
    chief, other = workers(signal_after=[(run, 5, signal.SIGKILL), None])
    status, _ = finish(chief)
    assert status == -signal.SIGKILL
    status, stderr = finish(other)
    assert status == 1 and "Traceback" not in stderr
    assert "another worker of the cluster is gone or does not answer" in the_line(stderr)
    killed = newest(run)
    chief, other = workers(signal_after=[None, (run, killed + 3, signal.SIGTERM)])
    for process in (chief, other):
        status, stderr = finish(process)
        assert status == 143 and "run the same command again to resume" in the_line(stderr)
        assert process is other or f"resuming from {run}/ckpt-{killed}" in stderr
        # TensorFlow warns from the fifth trace of a function on: none is traced at every batch.
        assert "retracing" not in stderr
    assert killed < newest(run) < 60

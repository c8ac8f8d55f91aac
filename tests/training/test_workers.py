"""Two processes as the workers of a cluster: what one process does, and what if one is gone."""

import json
import signal
import socket

import numpy as np
import pytest

from tests.helpers.processes import (
    DIGITS,
    SMALL,
    TINY,
    end_all,
    finish,
    newest,
    signal_after,
    start,
    the_line,
    variables,
)

RUN = [
    *DIGITS,
    *TINY,
    "--mode=train_then_eval",
    "--eval_batch_size=64",
    "--eval_steps=1",
    "--untrained_baseline=False",
]

FEW = ["--train_steps=3", "--learning_rate=0.01"]


@pytest.fixture(autouse=True)
def _ended():
    yield
    end_all()


def start_workers(*arguments, directories):
    """Two workers, each with a run directory; the first is the chief."""
    sockets = [socket.create_server(("localhost", 0)) for _ in directories]
    addresses = [f"localhost:{open_socket.getsockname()[1]}" for open_socket in sockets]
    for open_socket in sockets:
        open_socket.close()
    return [
        start(
            *RUN,
            *arguments,
            "--strategy=multi_worker",
            f"--model_dir={directory}",
            program=SMALL,
            TF_CONFIG=json.dumps(
                {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            ),
        )
        for index, directory in enumerate(directories)
    ]


def test_two_workers_equal_one_process(tmp_path):
    """Weights and metrics are those of one process; only the chief writes."""
    alone, chief, other = (tmp_path / name for name in ("alone", "chief", "other"))
    processes = [
        *start_workers(*FEW, directories=[chief, other]),
        start(*RUN, *FEW, f"--model_dir={alone}", program=SMALL),
    ]
    for status, stderr in map(finish, processes):
        assert status == 0, stderr
    expected, got = variables(alone), variables(chief)
    assert expected.keys() == got.keys() and len(expected) > 20
    for name in expected.keys() - {"seconds/.ATTRIBUTES/VARIABLE_VALUE"}:
        np.testing.assert_allclose(got[name], expected[name], atol=1e-5, err_msg=name)
    figures = [json.loads((directory / "result.json").read_text()) for directory in (alone, chief)]
    assert figures[0]["eval/label_top_1_accuracy"] == pytest.approx(
        figures[1]["eval/label_top_1_accuracy"], abs=0.02
    )
    assert (chief / "saved_model" / "3" / "saved_model.pb").exists()
    assert not other.exists() or list(other.iterdir()) == []
    ends = list(map(finish, start_workers(*FEW, directories=[chief, other])))
    assert [status for status, _ in ends] == [
        1,
        1,
    ] and "the workers do not see the same checkpoints there (here step 0)" in the_line(
        ends[1][1]
    ), ends


def test_workers_that_go_away(tmp_path):
    """The chief is killed: the other ends with a clear line. Started again, they resume."""
    run, many = tmp_path / "run", ["--train_steps=60", "--checkpoint_steps=5"]
    workers = start_workers(*many, directories=[run, run])
    signal_after(workers[0], run, 5, signal.SIGKILL)
    assert finish(workers[0])[0] == -signal.SIGKILL
    status, stderr = finish(workers[1])
    assert (
        status == 1
        and "another worker of the cluster is gone or does not answer" in the_line(stderr)
        and "Traceback" not in stderr
    )
    killed = newest(run)
    workers = start_workers(*many, directories=[run, run])
    signal_after(workers[1], run, killed + 1, signal.SIGTERM)
    ends = list(map(finish, workers))
    assert f"resuming from {run}/ckpt-{killed}" in ends[0][1]
    for status, stderr in ends:
        assert status == 143 and "the same command goes on from there" in the_line(stderr)
    assert killed < newest(run) < 60

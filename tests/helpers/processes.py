"""Starts run.py as a process of its own, and looks at its run directories and its stderr."""

import multiprocessing
import multiprocessing.connection
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

import numpy as np
import tensorflow as tf

from tests.helpers.waiting import SECONDS

ROOT = pathlib.Path(__file__).resolve().parents[2]
# A block for each group: half as much to trace as ResNet-18, and all its outputs.
GROUPS = (1, 1, 1, 1)
DIGITS = ["--dataset=digits", "--eval_split=test"]
TINY = [
    "--image_size=16",
    "--resnet_depth=18",
    "--width_multiplier=0.07",
    "--proj_out_dim=8",
    "--train_batch_size=64",
    "--use_blur=False",
    "--warmup_epochs=0",
    "--evaluations=classifier",
]
HERE = ["--strategy=one_device"]  # in this process, which has two devices
OUTPUTS = {
    "initial_conv",
    "initial_max_pool",
    "block_group1",
    "block_group2",
    "block_group3",
    "block_group4",
    "final_avg_pool",
    "logits_sup",
    "proj_head_input",
    "proj_head_output",
    "embedding",
    "probabilities",
}
LOG_LINE = re.compile(
    r"\d\d:\d\d:\d\d |[IWEF]\d{4} \d\d:|WARNING: (All log messages before absl|Logging before flag)"
)
# The plan of a training, which is a message of the log: two blocks of lines.
PLAN = re.compile(r"(?<=the plan:\n)\n(.+\n)+\n(.+\n)+\n")
SECONDS_KEY = "seconds/.ATTRIBUTES/VARIABLE_VALUE"  # of a checkpoint: what the training took
STARTED = []


def start(*arguments):
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    STARTED.append(process)
    return process


class Fork:
    """`run.py` with a small network, a copy of a process that has imported all: seconds less.

    It can do what `finish` needs of the `subprocess.Popen` that `start` returns.

    Args:
        arguments: flags.
        signal_after: (run directory, step, signal that the process gets after it), see
            `small_run.main`, as the other options.
        environment: further variables.
    """

    # A start looks for processes that have ended, and only one thread can be told how each did.
    _lock = threading.Lock()

    def __init__(
        self,
        *arguments,
        blocks=(1,),
        outputs=True,
        optimized=False,
        signal_after=None,
        **environment,
    ):
        # Late: what is imported there is more than most tests need.
        from tests.helpers import small_run

        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([small_run.__name__])
        handle, path = tempfile.mkstemp()
        os.close(handle)
        self._stderr = pathlib.Path(path)
        needed = (arguments, environment, path, blocks, outputs, optimized, signal_after)
        self._process = context.Process(target=small_run.main, args=needed)
        with self._lock:
            self._process.start()
        STARTED.append(self)

    @property
    def returncode(self):
        with self._lock:
            return self._process.exitcode

    def kill(self):
        self._process.kill()

    def communicate(self, timeout):
        multiprocessing.connection.wait([self._process.sentinel], timeout)
        assert self.returncode is not None, "it hangs"
        return None, self._stderr.read_text()


def finish(process):
    """(exit status, stderr) of a process, which is not left alone."""
    try:
        stderr = process.communicate(timeout=SECONDS)[1]
    finally:
        process.kill()
    return process.returncode, stderr


def end_all():
    """After Ctrl-C or with -x some may still run."""
    for process in STARTED:
        process.kill()


def messages(stderr):
    """The lines of stderr that neither the log nor TensorFlow's C++ has written."""
    lines = PLAN.sub("", stderr).splitlines()
    return [line for line in lines if line and not LOG_LINE.match(line)]


def the_message(stderr):
    lines = messages(stderr)
    assert len(lines) == 1 and lines[0].startswith("run.py: "), stderr
    return lines[0]


def the_line(stderr):
    """What the program says at its end, among the log, tables and TensorFlow's own lines."""
    (line,) = [line for line in stderr.splitlines() if line.startswith("run.py: ")]
    return line


def steps_saved(directory):
    return sorted(int(path.stem.split("-")[1]) for path in directory.glob("ckpt-*.index"))


def newest(directory):
    return max(steps_saved(directory), default=0)


def variables(directory):
    """{key: value} of the newest checkpoint; not how often it was saved."""
    reader = tf.train.load_checkpoint(str(directory))
    values = {}
    for name in reader.get_variable_to_shape_map():
        if not name.startswith(("_", "save_counter")):
            values[name] = np.asarray(reader.get_tensor(name))
    return values


def snapshot(directory):
    """What must not change: names, times and contents of all files."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

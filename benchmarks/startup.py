"""Seconds of `run.py --help`, and from the start of the program to its first training step.

    python -m benchmarks.startup

The second is a whole run of one step of the default configuration, with its checkpoint.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

ONE_STEP = ["--mode=train", "--train_mode=pretrain", "--train_steps=1"]
COMMANDS = {
    "run.py --help": ["--help"],
    "one step of pretraining, all of the program": ONE_STEP,
}


def seconds_of(flags):
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "run.py", *flags, f"--model_dir={folder}/run"]
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"median of {options.rounds}\n\n| command | seconds |\n|---|---|")
    for name, flags in COMMANDS.items():
        seconds = [seconds_of(flags) for _ in range(options.rounds)]
        print(f"| {name} | {statistics.median(seconds):.2f} |", flush=True)


if __name__ == "__main__":
    main()

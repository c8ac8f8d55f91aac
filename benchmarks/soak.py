"""What a run survives: kills, full disks and broken images, each injected where chance has it.

    python -m benchmarks.soak

A chain of pretraining, fine-tuning and distillation on scikit-learn's digits is disturbed, started
again, and has to end with the bits of the one that nothing has disturbed. Full disks need root, for
a tmpfs of their own.
"""

import argparse
import contextlib
import itertools
import os
import pathlib
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
STAGES = ("pretrain", "finetune", "distill")
NETWORK = [
    "--image_size=16",
    "--resnet_depth=18",
    "--width_multiplier=0.07",
    "--proj_out_dim=8",
    "--train_batch_size=64",
    "--use_blur=False",
    "--warmup_epochs=0",
]
CHAIN = [
    "--dataset=digits",
    "--eval_split=test",
    *NETWORK,
    f"--train_mode={','.join(STAGES)}",
    "--mode=train_then_eval",
    "--labels_per_class=4",
    "--evaluations=classifier",
    "--untrained_baseline=False",
    "--train_steps=24",
    "--checkpoint_steps=2",
    "--deterministic",
]
VARIANTS = {"without memory": [], "with memory": ["--memory_size=100"]}
KILLS_OF_A_CHAIN = 5
NUM_WHOLE = 40  # images that are not mutated
FULL = re.compile(r"run\.py: .*(the disk is full|can't be (saved|written)|No space left)")


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *map(str, arguments)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def whole(*arguments):
    """(exit status, stderr) of a run."""
    process = start(*arguments)
    stderr = process.communicate()[1]
    return process.returncode, stderr


def states(directory):
    """The bytes of all values in the newest checkpoints of the stages.

    Without the seconds that the training took.
    """
    import numpy as np
    import tensorflow as tf

    values = {}
    for stage in STAGES:
        reader = tf.train.load_checkpoint(str(directory / stage))
        for key in reader.get_variable_to_shape_map():
            if not key.startswith(("_", "seconds")):
                values[f"{stage}/{key}"] = np.asarray(reader.get_tensor(key)).tobytes()
    return values


def undisturbed(folder, flags):
    """(state at the end, seconds, bytes on the disk) of the chain."""
    began = time.monotonic()
    status, stderr = whole(*CHAIN, *flags, f"--model_dir={folder}")
    if status:
        sys.exit(f"the undisturbed chain ended with {status}: {stderr}")
    seconds = time.monotonic() - began
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return states(folder), seconds, size


def log(text):
    print(f"  {text}", file=sys.stderr, flush=True)


def kills(folder, number, chance):
    """Lines of the table: SIGKILL at random moments of a chain, and of what is started after it."""
    for name, flags in VARIANTS.items():
        expected, seconds, _ = undisturbed(folder / f"calm_{name}", flags)
        injected, survived, chain = 0, 0, 0
        while injected < number // len(VARIANTS):
            directory = folder / f"killed_{name}_{chain}"
            chain += 1
            kills_left = number // len(VARIANTS) - injected
            delays = (chance.uniform(2, 0.5 * seconds) for _ in range(KILLS_OF_A_CHAIN))
            delays = itertools.islice(delays, kills_left)
            killed = kill_after([*CHAIN, *flags, f"--model_dir={directory}"], delays)
            status, stderr = whole(*CHAIN, *flags, f"--model_dir={directory}")
            same = status == 0 and states(directory) == expected
            injected += killed
            survived += killed * same
            end = "the same bits" if same else f"status {status}: {stderr[-1000:]}"
            log(f"{name}, chain {chain}: {killed} kills, {end}")
        yield f"kill -9 in the chain, {name}", injected, survived


def kill_after(arguments, delays):
    """Starts a run and kills it after each of `delays`; returns how often it was killed."""
    killed = 0
    for delay in delays:
        process = start(*arguments)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=delay)
        if process.returncode is not None:  # it was at its end before
            if process.returncode:
                sys.exit(f"a chain that was started again ended with {process.returncode}")
            return killed
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += 1
    return killed


@contextlib.contextmanager
def small_disk(folder, size):
    """A tmpfs of `size` bytes; yields a function that gives it another size."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield lambda size: subprocess.run(
            ["mount", "-o", f"remount,size={size}", folder], check=True
        )
    finally:
        subprocess.run(["umount", folder], check=True)


def full_disks(folder, number, chance):
    """A line: the disk is full at a random point; once there is room, the run resumes."""
    flags = VARIANTS["without memory"]
    expected, _, size = undisturbed(folder / "calm", flags)
    injected, survived = 0, 0
    for point in range(number):
        with small_disk(folder / f"disk{point}", int(size * chance.uniform(0.001, 0.95))) as resize:
            directory = folder / f"disk{point}" / "run"
            status, stderr = whole(*CHAIN, *flags, f"--model_dir={directory}")
            told = (
                status == 1
                and len([line for line in stderr.splitlines() if FULL.match(line)]) == 1
                and "Traceback" not in stderr
            )
            resize(4 * size)
            later_status, later_stderr = whole(*CHAIN, *flags, f"--model_dir={directory}")
            same = later_status == 0 and states(directory) == expected
        if status:
            injected += 1
            survived += told and same
        message = "clear" if told else f"status {status}: {stderr[-1500:]}"
        end = "the same bits" if same else f"status {later_status}: {later_stderr[-1500:]}"
        log(f"disk {point}: {message}, {end}")
    yield "full disk in the chain", injected, survived


def mutated(content, chance):
    """An image file with a few bytes changed, cut off, or twice."""
    content = bytearray(content)
    for _ in range(chance.choice([1, 3, 20])):
        content[chance.randrange(len(content))] = chance.randrange(256)
    cut_off = content[: chance.randrange(len(content))]
    return bytes(chance.choice([content, content, cut_off, content + content]))


def write_mutated(folder, number, chance):
    """Fills `folder` with images of two classes, of which `number` are mutated."""
    import io

    from PIL import Image

    for kind in ("cat", "dog"):
        (folder / kind).mkdir(parents=True)
    for i in range(number + NUM_WHOLE):
        suffix = ("jpg", "png", "bmp", "gif")[i % 4]
        stream = io.BytesIO()
        image = Image.frombytes("RGB", (40, 30), chance.randbytes(3600))
        image.save(stream, {"jpg": "JPEG"}.get(suffix, suffix))
        content = stream.getvalue()
        kind = ("cat", "dog")[i // 4 % 2]
        path = folder / kind / f"{i:04}.{suffix}"
        path.write_bytes(mutated(content, chance) if i < number else content)


def decodable(folder):
    """How many images can be decoded whole and do not have too many pixels."""
    import tensorflow as tf

    from tf_simclr.data.decoding import JPEG_ALLOWANCE, MAX_PIXELS

    good = 0
    for file in sorted(folder.rglob("*.*")):
        content = file.read_bytes()
        if not content.startswith((b"\x89PNG", b"GIF8", b"\xff\xd8", b"BM")):
            continue
        with contextlib.suppress(tf.errors.OpError, ValueError):
            image = tf.io.decode_image(content, channels=3, expand_animations=False)
            is_jpeg = content.startswith(b"\xff\xd8")
            limit = MAX_PIXELS * (JPEG_ALLOWANCE if is_jpeg else 1)
            good += int(tf.size(image)) <= 3 * limit
    return good


def images(folder, number, chance):
    """A line: mutated images among whole ones; survived are those that were counted right."""
    write_mutated(folder / "images", number, chance)
    good = decodable(folder / "images")
    status, stderr = whole(
        f"--dataset=folder:{folder / 'images'}",
        *NETWORK,
        "--mode=train_then_eval",
        "--train_steps=20",
        "--evaluations=classifier",
        "--untrained_baseline=False",
        f"--model_dir={folder / 'run'}",
    )
    counts = re.search(r"(\d+) of (\d+) images can't be read", stderr)
    taken = -1
    if counts:
        unreadable, total = map(int, counts.groups())
        taken = total - unreadable
    gigabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    log(
        f"images: {taken} of {number + NUM_WHOLE} taken, {good} can be decoded, "
        f"{gigabytes:.2f} GB, status {status}{stderr[-1500:] if status else ''}"
    )
    yield "mutated images in a folder", number, number - abs(taken - good) if status == 0 else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--full_disks", type=int, default=20)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print("| fault | injected | survived | lost |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        numbers = {images: options.images, full_disks: options.full_disks, kills: options.kills}
        for inject, number in numbers.items():
            if not number:
                continue
            subfolder = pathlib.Path(folder) / inject.__name__
            subfolder.mkdir()
            for line in inject(subfolder, number, random.Random(options.seed)):
                name, injected, survived = line
                print(f"| {name} | {injected} | {survived} | {injected - survived} |", flush=True)


if __name__ == "__main__":
    main()

"""What a run survives: `python -m benchmarks.soak`. Kills, full disks and broken images, each injected where chance has it.

A chain of pretraining, fine-tuning and distillation on scikit-learn's digits is disturbed, started again, and has to end
with the bits of the one that nothing has disturbed. Full disks need root, for a tmpfs of their own.
"""

import argparse
import contextlib
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
    """The bytes of all values in the newest checkpoints of the stages, but for the seconds that the training took."""
    import numpy as np
    import tensorflow as tf

    found = {}
    for stage in STAGES:
        reader = tf.train.load_checkpoint(str(directory / stage))
        found |= {
            f"{stage}/{key}": np.asarray(reader.get_tensor(key)).tobytes()
            for key in reader.get_variable_to_shape_map()
            if not key.startswith(("_", "seconds"))
        }
    return found


def undisturbed(folder, flags):
    """(state at the end, seconds, bytes on the disk) of the chain."""
    began = time.monotonic()
    status, stderr = whole(*CHAIN, *flags, f"--model_dir={folder}")
    if status:
        sys.exit(f"the undisturbed chain ended with {status}: {stderr}")
    return (
        states(folder),
        time.monotonic() - began,
        sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
    )


def kills(folder, number, chance):
    """Rows of the table: SIGKILL at random moments, then again in what was started after it, until the chain is left alone."""
    for name, flags in VARIANTS.items():
        expected, seconds, _ = undisturbed(folder / f"calm_{name}", flags)
        injected, survived, chain = 0, 0, 0
        while injected < number // len(VARIANTS):
            directory, killed, chain = folder / f"killed_{name}_{chain}", 0, chain + 1
            while killed < min(KILLS_OF_A_CHAIN, number // len(VARIANTS) - injected):
                process = start(*CHAIN, *flags, f"--model_dir={directory}")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=chance.uniform(2, 0.5 * seconds))
                if process.returncode is not None:  # it was at its end before
                    if process.returncode:
                        sys.exit(f"a chain that was started again ended with {process.returncode}")
                    break
                process.send_signal(signal.SIGKILL)
                process.communicate()
                killed += 1
            status, stderr = whole(*CHAIN, *flags, f"--model_dir={directory}")
            same = status == 0 and states(directory) == expected
            injected, survived = injected + killed, survived + killed * same
            print(
                f"  {name}, chain {chain}: {killed} kills, {'the same bits' if same else f'status {status}: {stderr[-1000:]}'}",
                file=sys.stderr,
                flush=True,
            )
        yield f"kill -9 in the chain, {name}", injected, survived


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
    """A row: the disk is full at a random point of the chain; after there is room, it goes on to the same end."""
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
            again, rest = whole(*CHAIN, *flags, f"--model_dir={directory}")
            same = again == 0 and states(directory) == expected
        if status:
            injected, survived = injected + 1, survived + (told and same)
        print(
            f"  disk {point}: {'clear' if told else f'status {status}: {stderr[-1500:]}'}, {'the same bits' if same else f'status {again}: {rest[-1500:]}'}",
            file=sys.stderr,
            flush=True,
        )
    yield "full disk in the chain", injected, survived


def mutated(content, chance):
    """An image file with a few bytes changed, cut off, or twice."""
    content = bytearray(content)
    for _ in range(chance.choice([1, 3, 20])):
        content[chance.randrange(len(content))] = chance.randrange(256)
    return bytes(
        chance.choice(
            [content, content, content[: chance.randrange(len(content))], content + content]
        )
    )


def write_mutated(folder, number, chance):
    """Fills `folder` with images of two classes, of which `number` are mutated."""
    import io

    from PIL import Image

    for kind in ("cat", "dog"):
        (folder / kind).mkdir(parents=True)
    for i in range(number + 40):
        suffix, stream = ("jpg", "png", "bmp", "gif")[i % 4], io.BytesIO()
        image = Image.frombytes("RGB", (40, 30), chance.randbytes(3600))
        image.save(stream, {"jpg": "JPEG"}.get(suffix, suffix))
        (folder / ("cat", "dog")[i // 4 % 2] / f"{i:04}.{suffix}").write_bytes(
            mutated(stream.getvalue(), chance) if i < number else stream.getvalue()
        )


def decodable(folder):
    """How many images can be decoded whole and have at most 10^8 pixels: what the count of the run is compared with."""
    import tensorflow as tf

    good = 0
    for file in sorted(folder.rglob("*.*")):
        content = file.read_bytes()
        with contextlib.suppress(tf.errors.OpError, ValueError):
            if content.startswith((b"\x89PNG", b"GIF8", b"\xff\xd8", b"BM")):
                good += (
                    int(tf.size(tf.io.decode_image(content, channels=3, expand_animations=False)))
                    <= 3 * 10**8
                )
    return good


def images(folder, number, chance):
    """A row: mutated images among whole ones; survived are those that were counted right."""
    write_mutated(folder / "images", number, chance)
    good, found = decodable(folder / "images"), number + 40
    status, stderr = whole(
        f"--dataset=folder:{folder / 'images'}",
        *NETWORK,
        "--mode=train_then_eval",
        "--train_steps=20",
        "--evaluations=classifier",
        "--untrained_baseline=False",
        f"--model_dir={folder / 'run'}",
    )
    told = re.search(r"(\d+) of (\d+) images can't be read", stderr)
    counted = int(told[2]) - int(told[1]) if told else -1
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(
        f"  images: {counted} of {found} taken, {good} can be decoded, {memory / 1e6:.2f} GB, status {status}{stderr[-1500:] if status else ''}",
        file=sys.stderr,
        flush=True,
    )
    yield "mutated images in a folder", number, number - abs(counted - good) if status == 0 else 0


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
        for kind, number in (
            (images, options.images),
            (full_disks, options.full_disks),
            (kills, options.kills),
        ):
            place = pathlib.Path(folder) / kind.__name__
            place.mkdir()
            for name, injected, survived in (
                kind(place, number, random.Random(options.seed)) if number else ()
            ):
                print(f"| {name} | {injected} | {survived} | {injected - survived} |", flush=True)


if __name__ == "__main__":
    main()

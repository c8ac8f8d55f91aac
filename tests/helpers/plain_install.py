"""What an environment of requirements.txt alone has to be able to do.

`.ci/run` runs it before the packages of the tests are installed: with them, a requirement that is
not declared is often there by chance. It needs no test package itself.

    python -m tests.helpers.plain_install
"""

import contextlib
import http.server
import importlib
import importlib.util
import io
import os
import pathlib
import pkgutil
import shutil
import subprocess
import sys
import tempfile
import threading

from absl import flags as absl_flags

import run
import tf_simclr
from tests.helpers import local_pictures

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOT_REQUIRED = (
    *("pytest", "hypothesis", "tensorflow_hub", "tf_keras", "mlflow", "wandb"),
    *("tf2onnx", "onnxruntime", "ai_edge_litert", "keras_hub"),
)
# {flag that needs packages which are not required: what the message says}
OPTIONAL = {
    "--export_formats=onnx": "pip install tf2onnx onnxruntime",
    "--export_formats=tflite": "pip install ai_edge_litert",
    "--backbone=hub:dinov2_small": "pip install keras-hub",
    "--track=mlflow": "pip install mlflow-skinny",
    "--track=wandb": "pip install wandb",
}
TINY = (
    "--image_size=16",
    "--resnet_depth=18",
    "--width_multiplier=0.07",
    "--train_batch_size=8",
    "--train_steps=1",
    "--evaluations=classifier",
    "--untrained_baseline=False",
)


def check_environment():
    """Refuses an environment in which this check would prove nothing."""
    present = [name for name in NOT_REQUIRED if importlib.util.find_spec(name) is not None]
    assert not present, f"not an environment of requirements.txt alone: it has {', '.join(present)}"


def check_imports():
    """Imports every module of the package."""
    names = [
        module.name for module in pkgutil.walk_packages(tf_simclr.__path__, prefix="tf_simclr.")
    ]
    for name in names:
        importlib.import_module(name)
    assert len(names) > 50, names
    return len(names)


def run_main(*arguments):
    """(exit status, stderr) of run.py in this process."""
    absl_flags.FLAGS = absl_flags.FlagValues()  # each command line defines its own
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        status = run.main(["run.py", *arguments])
    return status, errors.getvalue()


class _Archive(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        content = local_pictures.archive()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        """Nothing: the log of the server is of no interest."""


@contextlib.contextmanager
def served_archive():
    """Serves the archive of `local_pictures` on the loopback interface."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Archive)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ[local_pictures.URL_VARIABLE] = f"http://127.0.0.1:{server.server_port}/images.npz"
    try:
        yield
    finally:
        server.shutdown()


def check_tensorflow_datasets(directory):
    """Downloads and prepares a data set of tensorflow-datasets, and trains on it."""
    data_dir, model_dir = directory / "tfds", directory / "run"
    with served_archive():
        status, errors = run_main(
            "--mode=train_then_eval",
            "--dataset=local_pictures",
            f"--data_dir={data_dir}",
            "--eval_split=test",
            f"--model_dir={model_dir}",
            *TINY,
        )
    assert status == 0, errors
    assert list(data_dir.glob("local_pictures/1.0.0/*train*")), "nothing was prepared"
    assert (model_dir / "result.json").exists()


def check_optional_packages(directory):
    """What is optional is missing here, and says so in one line before any work."""
    for flag, remedy in OPTIONAL.items():
        status, errors = run_main(
            "--mode=train_then_eval",
            "--dataset=digits",
            "--eval_split=test",
            flag,
            f"--model_dir={directory / 'optional'}",
            *TINY,
        )
        messages = [line for line in errors.splitlines() if line.startswith("run.py: ")]
        assert status == 2 and len(messages) == 1, errors
        assert remedy in messages[0], messages
        assert not (directory / "optional").exists(), "work was done before the message"


def check_wheel(directory):
    """A wheel brings tf-simclr, which speaks, the recipes and what pages are made of."""
    source, target = directory / "source", directory / "site-packages"
    for folder in ("tf_simclr", "official_configs"):
        shutil.copytree(ROOT / folder, source / folder)
    for file in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    install = (sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target))
    subprocess.run([*install, str(source)], check=True)
    program = str(target / "bin" / "tf-simclr")
    environment = {**os.environ, "PYTHONPATH": str(target)}

    def run_installed(*arguments):
        return subprocess.run(
            [program, *arguments], env=environment, cwd=directory, capture_output=True, text=True
        )

    said = run_installed("--mode=weights", "--variable_schema=1")
    assert said.returncode == 0, said.stderr
    assert "--variable_schema is accepted" in said.stderr, said.stderr
    wrong = run_installed("--config=nothing")
    assert wrong.returncode == 2, wrong.stderr
    assert wrong.stderr.startswith("tf-simclr: --config=nothing"), wrong.stderr
    assert "digits_quickstart" in wrong.stderr, wrong.stderr
    for name in ("label.js", "page.html", "style.css"):
        assert (target / "tf_simclr" / "report" / name).exists(), name


def check_parquet(directory):
    """tensorflow-datasets brings pyarrow, so it is hidden for these commands."""
    sys.modules["pyarrow"] = None
    for flags in (
        ("--mode=embed", "--embed_output=x.parquet"),
        ("--mode=predict", "--predict_output=x.parquet"),
    ):
        status, errors = run_main(*flags, "--dataset=digits", f"--model_dir={directory / 'none'}")
        messages = [line for line in errors.splitlines() if line.startswith("run.py: ")]
        assert status == 2 and len(messages) == 1, errors
        assert "pip install pyarrow" in messages[0], messages
    del sys.modules["pyarrow"]


def main():
    """Runs all checks; an AssertionError or ImportError ends it with status 1."""
    check_environment()
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        check_wheel(directory)
        check_optional_packages(directory)
        check_parquet(directory)
        check_tensorflow_datasets(directory)
    count = check_imports()
    print(f"requirements.txt alone: {count} modules imported, a data set prepared and trained on")


if __name__ == "__main__":
    main()

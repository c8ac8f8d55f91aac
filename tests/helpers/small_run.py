"""`run.py` with a ResNet-18 of one block, or of groups of BLOCKS (environment variable)."""

import os
import pathlib
import runpy
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tf_simclr import console  # noqa: E402

console.start_tensorflow()

from tf_simclr.models import resnet  # noqa: E402

resnet.FAMILY[18] = (
    resnet.FAMILY[18][0],
    tuple(map(int, os.environ.get("BLOCKS", "1").split(","))),
)
runpy.run_path(str(ROOT / "run.py"), run_name="__main__")

"""Image files that the user names one by one."""

import os

import numpy as np
import tensorflow as tf

from tf_simclr.config.automatic import limits_of
from tf_simclr.config.data_sections import DataConfig
from tf_simclr.data import file_checks, foreign_images, image_folder
from tf_simclr.data.image import EncodedImage
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.data.source import UNLABELED
from tf_simclr.errors import UserError


def load(paths: list[str], data: DataConfig, flag: str) -> Indexed:
    """The images of some files, decoded as those of folders are.

    Args:
        paths: of the files.
        data: the data section of the configuration.
        flag: whose value they are, for messages and as the name of the split.

    Raises:
        UserError: one of them can't be read.
    """
    problems = image_folder.problems_of(paths, f"checking --{flag}")
    for path, problem in zip(paths, problems):
        if problem:
            raise UserError(
                f"--{flag}={path}: not an image that can be read ({problem}); "
                f"{file_checks.ACCEPTED}"
            )
    usable = [foreign_images.usable_path(path) for path in paths]
    contents = [tf.io.read_file(os.fsencode(path)).numpy() for path in usable]
    source = Indexed(
        flag,
        flag,
        (),
        EncodedImage,
        np.array(contents, object),
        np.full(len(paths), UNLABELED, np.int64),
        tuple(paths),
    )
    return source.with_value_range(limits_of(data.value_range))

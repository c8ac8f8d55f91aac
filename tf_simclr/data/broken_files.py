"""Files of a data set that should be images and can't be read: their names, after the scan."""

from tf_simclr.config.values import FOLDER, folders_of
from tf_simclr.data import folder_images, image_folder
from tf_simclr.data.source import as_text


def find(dataset: str, used: set[str]) -> dict[str, str]:
    """{name: reason} of the files that were left out because they can't be read.

    Args:
        dataset: its name; only folders have such files.
        used: the names of all images in all splits, as they can be written.

    Raises:
        UserError: as `folder_images.collect`.
    """
    if not dataset.startswith(FOLDER):
        return {}
    paths = folder_images.collect(folders_of(dataset)).paths
    left_out = {as_text(name): path for name, path in paths.items() if as_text(name) not in used}
    if not left_out:
        return {}
    problems = image_folder.problems_of(list(left_out.values()), "looking at files left out")
    return {name: problem for name, problem in zip(left_out, problems) if problem}

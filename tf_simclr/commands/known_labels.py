"""The labels that there are, for a labels.csv that takes the place of all of them."""

from tf_simclr.config import label_tables
from tf_simclr.config.data_sections import DataConfig
from tf_simclr.config.values import FOLDER
from tf_simclr.data import folders
from tf_simclr.data.label_file import Labels
from tf_simclr.data.source import as_text


def known_labels(data: DataConfig, table: Labels | None) -> dict[str, str] | None:
    """{name: class} of all images of folders that have a label, of each split, used or not.

    Args:
        data: the data section of the configuration.
        table: of --labels; None: there is none.

    Returns:
        None where neither a table nor folders say which labels there are.

    Raises:
        UserError: the folders are gone.
    """
    if table is not None:
        return {as_text(name): label for name, label in table.classes.items()}
    is_by_folders = data.dataset.startswith(FOLDER) and data.folder_layout != "simple"
    if is_by_folders and data.labels != label_tables.NO_LABELS:
        classes = folders.classes_of(data.dataset)
        return {as_text(name): as_text(label) for name, label in classes.items()}
    return None

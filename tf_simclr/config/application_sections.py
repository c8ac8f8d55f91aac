"""The settings of what is done with a trained network: a section for each mode."""

import dataclasses

from tf_simclr.config.registry import SELECT_STRATEGIES
from tf_simclr.config.setting import setting


@dataclasses.dataclass(frozen=True)
class EmbedConfig:
    """What --mode=embed writes."""

    embed_split: str = setting(
        "",
        "split that is embedded, predicted or inspected (empty: all of them)",
        fixed=False,
    )
    embed_output: str = setting(
        "",
        "file that --mode=embed writes, .npz or .parquet (empty: embeddings.npz in the run "
        "directory)",
        fixed=False,
    )
    embed_neighbors: int = setting(
        8, "nearest neighbors of each image that --mode=embed finds (0: none)", low=0, fixed=False
    )


@dataclasses.dataclass(frozen=True)
class SelectConfig:
    """Which images --mode=select asks to label."""

    select_count: int = setting(
        20, "training images that --mode=select asks to label", low=1, high=10**6, fixed=False
    )
    select_eval_count: int = setting(
        0,
        "images that --mode=select draws from eval_split as well, whose labels will say how good a "
        "classifier is",
        low=0,
        high=10**6,
        fixed=False,
    )
    select_strategy: str = setting(
        "auto",
        "how images to label are chosen; typical: the most typical of each kind of image; "
        "coverage: far from every labeled one; uncertain: between two classes of the classifier; "
        "random; auto: typical while labels are few, then uncertain",
        choices=("auto", *SELECT_STRATEGIES),
        fixed=False,
    )


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """What --mode=search looks for, and where."""

    query: str = setting(
        "",
        "images whose most similar ones --mode=search finds: paths of files or names of images of "
        "the set, with commas between",
        fixed=False,
    )
    search_count: int = setting(
        20, "images that --mode=search finds for each query", low=1, fixed=False
    )
    embeddings: str = setting(
        "",
        "file of --mode=embed, .npz or .parquet, that --mode=search searches (empty: the images "
        "of --dataset are embedded)",
        fixed=False,
    )


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """What --mode=predict writes, and when a prediction counts as unsure."""

    predict_output: str = setting(
        "",
        "file that --mode=predict writes, .csv or .parquet (empty: predictions.csv in the run "
        "directory); --embed_split says of which split",
        fixed=False,
    )
    predict_top_k: int = setting(
        2, "most probable classes of each image that --mode=predict writes", low=2, fixed=False
    )
    predict_precision: float = setting(
        0.95,
        "how many of the predictions that are not unsure should be right; evaluations and "
        "--mode=predict look for the threshold on held-out labels",
        low=0.5,
        high=0.999,
        fixed=False,
    )


@dataclasses.dataclass(frozen=True)
class InspectConfig:
    """What --mode=inspect writes."""

    inspect_output: str = setting(
        "",
        "table of what is wrong with the images, .csv (empty: issues.csv in the run directory)",
        fixed=False,
    )

"""The settings of what is done with a trained network: a section for each mode."""

import dataclasses

from tf_simclr.config.setting import setting


@dataclasses.dataclass(frozen=True)
class EmbedConfig:
    """What --mode=embed writes."""

    embed_split: str = setting("", "split that is embedded (empty: all of them)", fixed=False)
    embed_output: str = setting(
        "",
        "file that --mode=embed writes, .npz or .parquet (empty: embeddings.npz in the run "
        "directory)",
        fixed=False,
    )
    embed_neighbors: int = setting(
        8, "nearest neighbors of each image that --mode=embed finds (0: none)", low=0, fixed=False
    )

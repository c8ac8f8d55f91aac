"""The settings of the machine: devices, compilation, connections. No TensorFlow."""

import dataclasses

from tf_simclr.config.setting import setting


@dataclasses.dataclass(frozen=True)
class HardwareConfig:
    """What a run is computed on."""

    strategy: str = setting(
        "auto",
        "how to distribute; auto: a TPU that is named, else all GPUs, else the CPU",
        choices=("auto", "one_device", "mirrored", "multi_worker", "tpu"),
        fixed=False,
    )
    num_cpu_devices: int = setting(
        1, "logical CPU devices, to try distribution without GPUs", low=1, high=64, fixed=False
    )
    jit_compile: str = setting(
        "auto",
        "give the training step to XLA; auto: on one GPU. A TPU always does, on CPUs its "
        "convolutions are slow",
        choices=("auto", "true", "false"),
        fixed=False,
    )
    steps_per_loop: int = setting(
        1,
        "training steps without returning to the host between them, for TPUs; more than 1: fewer "
        "summaries, and data_time is not measured",
        low=1,
        fixed=False,
    )
    data_service: str = setting(
        "",
        "grpc://host:port of a tf.data service cluster that computes the training batches (empty: "
        "this machine does)",
        fixed=False,
    )
    connect_timeout: float = setting(
        120.0,
        "seconds to wait for a TPU's address or a tf.data service that takes no connections",
        low=0.0,
        fixed=False,
    )
    use_tpu: bool = setting(
        True, "let strategy=auto use the TPU of --tpu_name or --master", fixed=False
    )
    tpu_name: str = setting("", "name or grpc:// address of the Cloud TPU", fixed=False)
    tpu_zone: str = setting("", "zone of the Cloud TPU", fixed=False)
    gcp_project: str = setting("", "project of the Cloud TPU", fixed=False)
    master: str = setting("", "address of the TPU's master, in place of tpu_name", fixed=False)

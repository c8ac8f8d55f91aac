"""The ways to fine-tune among which --finetune_choice=held_out chooses. No TensorFlow."""

CHOSEN = "held_out"
# {name: its flags}; the one that changes the least first.
FINETUNINGS = {
    "frozen encoder": {"ft_proj_selector": 0, "fine_tune_after_block": 4},
    "from the encoder": {"ft_proj_selector": 0, "fine_tune_after_block": -1},
    "from the head's first layer": {"ft_proj_selector": 1, "fine_tune_after_block": -1},
}
FEW_LABELS = 300  # fewer are held out several times, since one draw of few says little
NUM_DRAWS = 3
CHOSEN_FLAGS = ("ft_proj_selector", "fine_tune_after_block")


def settled(flags: dict, saved: dict | None) -> dict:
    """{flag: value} of what a run that exists has chosen; empty where nothing was to be chosen.

    Args:
        flags: {flag: value} of a configuration.
        saved: {flag: value} of the run in its directory; None: there is none.
    """
    if (
        saved is None
        or flags["finetune_choice"] != CHOSEN
        or saved.get("finetune_choice") != CHOSEN
    ):
        return {}
    return {name: saved[name] for name in CHOSEN_FLAGS if flags[name] != saved[name]}

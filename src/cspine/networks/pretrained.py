"""The locator that comes with the kit: it learnt on replicas alone, and every locator starts from it."""

from pathlib import Path
from typing import Any

import torch

from cspine.networks.checkpoints import check_settings, load_weights, read_description
from cspine.networks.locator import Locator
from cspine.settings.networks import LocatorSettings
from cspine.settings.presets import reproducible_settings

WEIGHTS = Path(__file__).parent / "weights" / "locator-replica.safetensors"
"""Its file, part of the package; its card lies beside it."""
MADE_BY = "make pretrain-locator"


def describe_start(settings: LocatorSettings) -> dict[str, Any]:
    """Say what of a locator's settings a start has to share.

    Parameters
    ----------
    settings : LocatorSettings
        Of the locator.

    Returns
    -------
    dict
        Everything but whether it starts from other weights.
    """
    return {key: value for key, value in reproducible_settings(settings).items() if key != "pretrained"}


def start_locator(settings: LocatorSettings) -> Locator:
    """Make a locator that is about to be trained: from the kit's own weights, or from random ones.

    Parameters
    ----------
    settings : LocatorSettings
        Of the locator.

    Returns
    -------
    Locator
        On the CPU.

    Raises
    ------
    InputError
        If it is to start from the kit's weights and these are missing or of other settings.
    """
    locator = Locator(settings)
    if settings.pretrained:
        _fill(locator)
    return locator


def load_pretrained(device: torch.device) -> Locator:
    """Load the kit's own locator, ready to be asked.

    Parameters
    ----------
    device : torch.device
        Where it is put.

    Returns
    -------
    Locator
        In evaluation mode.

    Raises
    ------
    InputError
        If its file is missing, broken or of other settings.
    """
    locator = Locator(LocatorSettings())
    _fill(locator)
    return locator.to(device).eval()


def _fill(locator: Locator) -> None:
    """Load the kit's weights into a locator of the same settings."""
    found = read_description(WEIGHTS, MADE_BY)["locator"]
    found = {key: value for key, value in found.items() if key != "pretrained"}
    check_settings(WEIGHTS, {"locator": found}, {"locator": describe_start(locator.settings)}, MADE_BY)
    load_weights(WEIGHTS, locator, MADE_BY)

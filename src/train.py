"""Train classifier folds on the cached columns, with a process for each GPU."""

import sys
from dataclasses import replace
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from cspine import cli
from cspine.settings.flags import CacheFlag, LoaderFlag, PresetFlag, RawFlag, RunFlag
from cspine.settings.presets import PRESETS
from cspine.settings.strict import STRICT


@dataclass(frozen=True, config=STRICT)
class Flags(LoaderFlag, PresetFlag, RunFlag, CacheFlag, RawFlag):
    """Flags of train.py."""

    fold: str = "all"
    """One fold by its number, or all of them."""
    encoder: str = ""
    """Another encoder than the preset's, by timm's name, for a run that is to be blended with the preset's own."""
    pretrained: bool = True
    """--no-pretrained starts the encoder from random weights."""
    encoder_weights: str = ""
    """A file with timm's weights of the encoder, for machines without a network."""
    processes: Annotated[int, Field(ge=1)] | None = None
    """Processes that train together; one for each GPU that CUDA_VISIBLE_DEVICES leaves."""


def main(flags: Flags) -> None:
    """Train the folds that are not finished yet.

    Parameters
    ----------
    flags : Flags
        The checked flags of the command line.
    """
    import torch

    from cspine.training.classify import classify
    from cspine.training.launch import is_launched, launch

    processes = flags.processes or max(torch.cuda.device_count(), 1)
    if processes > 1 and not is_launched():
        launch(processes, sys.argv)
        return
    preset = PRESETS[flags.preset].for_machine(flags.loader_workers)
    if flags.encoder:
        preset = preset.with_encoder(flags.encoder)
    if not flags.pretrained:
        preset = replace(preset, classifier=replace(preset.classifier, pretrained=False))
    classify(flags.raw, flags.cache, flags.run, preset, flags.fold, flags.encoder_weights)


if __name__ == "__main__":
    cli.run(main, Flags)

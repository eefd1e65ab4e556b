"""A step of a stage on Kaggle, in a process that may be stopped at any moment: the library's own functions."""

import sys
from pathlib import Path

from cspine import cli
from cspine.settings.layout import DEFAULT_FOLDS, DEFAULT_SEED
from cspine.settings.presets import PRESETS


def main(step: str, raw: Path, cache: Path, run: Path, name: str, processes: int) -> None:
    """Do a step.

    Parameters
    ----------
    step : str
        As "prepare", or "train0" for a fold.
    raw : Path
        The competition folder.
    cache : Path
        The cache.
    run : Path
        The run.
    name : str
        The preset's name.
    processes : int
        How many train together; the other steps take one.

    Raises
    ------
    InputError
        As the stages do.
    """
    if processes > 1 and (step == "locate" or step.startswith("train")):
        from cspine.training.launch import is_launched, launch

        if not is_launched():
            launch(processes, ["-m", "cspine.kaggle.stage_work", *sys.argv[1:]])
            return
    preset = PRESETS[name].for_machine()  # type: ignore[index]
    if step == "prepare":
        from cspine.preprocessing.prepare import prepare_cache

        prepare_cache(raw, cache, preset)
    elif step == "split":
        from cspine.preprocessing.split import split_studies

        split_studies(raw, cache, DEFAULT_FOLDS, DEFAULT_SEED)
    elif step == "locate":
        from cspine.training.locate import train_and_label

        train_and_label(cache, run, preset)
    elif step == "columns":
        from cspine.preprocessing.columns import cut_cache

        cut_cache(raw, cache, preset)
    elif step == "cv":
        from cspine.evaluation.cross_validation import cross_validate

        cross_validate(raw, cache, run)
    else:
        from cspine.training.classify import classify

        classify(raw, cache, run, preset, step.removeprefix("train"))


if __name__ == "__main__":
    with cli.errors_told():
        step, *folders, name, processes = sys.argv[1:]
        raw, cache, run = map(Path, folders)
        main(step, raw, cache, run, name, int(processes))

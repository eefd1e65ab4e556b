"""Several runs asked as one: their logits are added up with weights, and what they share is done once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from cspine import storage
from cspine.competition.labels import LEVELS
from cspine.dicom.volume import Volume
from cspine.errors import InputError
from cspine.inference.ensemble import Answer, Ensemble, folds_in_words
from cspine.settings.layout import RunLayout


@dataclass(frozen=True)
class BlendWeights:
    """What a blend's blend.json holds."""

    runs: tuple[Path, ...]
    """The members' folders."""
    level: tuple[float, ...]
    """The members' weights for C1 to C7; not negative, their sum is 1."""
    overall: tuple[float, ...]
    """The same for patient_overall."""

    def combine(self, logits: Sequence[np.ndarray]) -> np.ndarray:
        """Add the members' logits up.

        Parameters
        ----------
        logits : sequence of ndarray of float64, each of shape (..., 8)
            One array a member, columns as PREDICTION_TYPES.

        Returns
        -------
        ndarray of float64, shape (..., 8)
            The weighted sum.
        """
        pairs = zip(self.level, self.overall, strict=True)
        weights = [np.array([level] * len(LEVELS) + [overall]) for level, overall in pairs]
        return np.sum([weight * one for weight, one in zip(weights, logits, strict=True)], axis=0)


def members_of(run: Path) -> list[Path]:
    """List the runs whose networks are asked.

    Parameters
    ----------
    run : Path
        A run's folder, or a blend's.

    Returns
    -------
    list of Path
        The members of a blend, in the order of its weights; the run itself where it is none.

    Raises
    ------
    InputError
        As `read_blend`.
    """
    blend = read_blend(run)
    return [Path(run)] if blend is None else list(blend.runs)


def in_words(run: Path) -> str:
    """Say which networks answer.

    Parameters
    ----------
    run : Path
        A run's folder, or a blend's.

    Returns
    -------
    str
        How many folds of each member there are.

    Raises
    ------
    InputError
        As `read_blend` and `folds_in_words`.
    """
    return "; ".join(folds_in_words(member) for member in members_of(run))


def read_blend(run: Path) -> BlendWeights | None:
    """Read a blend's blend.json.

    Parameters
    ----------
    run : Path
        The folder.

    Returns
    -------
    BlendWeights or None
        None where the folder is no blend.

    Raises
    ------
    InputError
        If the file is broken, or a member is missing or a blend itself.
    """
    path = RunLayout(Path(run)).blend
    if not path.is_file():
        return None
    content = storage.read_json(path, made_by="make blend")
    expected = "runs, and as many weights for level and overall, none below 0 and their sum 1"
    try:
        runs = tuple(path.parent / str(one) for one in content["runs"])
        level, overall = (tuple(float(one) for one in content[kind]) for kind in ("level", "overall"))
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: found {error!r}; expected {expected}; `make blend` makes it anew"
        ) from error
    for weights in (level, overall):
        if len(weights) != len(runs) or min(weights, default=-1) < 0 or abs(sum(weights) - 1) > 1e-6:
            raise InputError(
                f"{path}: found {len(runs)} runs and the weights {weights}; expected {expected}; "
                "`make blend` makes it anew"
            )
    for one in runs:
        if not one.is_dir() or RunLayout(one).blend.is_file():
            raise InputError(
                f"{path}: found the member {one}; expected the folder of a single run; see `make blend`"
            )
    return BlendWeights(runs, level, overall)


def write_blend(folder: Path, weights: BlendWeights) -> None:
    """Write a blend's blend.json.

    Parameters
    ----------
    folder : Path
        The blend's folder.
    weights : BlendWeights
        Members, as paths from that folder or absolute ones, and their weights.
    """
    storage.write_json(
        RunLayout(folder).blend,
        {
            "runs": [one.as_posix() for one in weights.runs],
            "level": list(weights.level),
            "overall": list(weights.overall),
        },
    )


@dataclass(frozen=True)
class Blend:
    """The networks of several runs, and their weights."""

    members: list[Ensemble]
    weights: BlendWeights

    @property
    def spacing_mm(self) -> float:
        """Voxel size of the small volumes that `answer` takes."""
        return self.members[0].spacing_mm

    @property
    def window_name(self) -> str:
        """The window in which the first member's columns are cut, for pictures."""
        return self.members[0].window_name

    def answer(self, volume: Volume, small: np.ndarray, affine: np.ndarray) -> Answer:
        """Give each fold's logits; members that cut the same columns share one.

        Parameters
        ----------
        volume : Volume
            The scan.
        small : ndarray of int16, shape (z, y, x)
            The same scan at `spacing_mm`, in Hounsfield units.
        affine : ndarray of float64, shape (4, 4)
            Of the small copy, from (z, y, x) index to patient mm.

        Returns
        -------
        Answer
            Blended logits of each fold, the first member's column and deciding slices, and how long each part took.

        Raises
        ------
        InputError
            If no column can be cut.
        """
        answers: list[Answer] = []
        seconds: dict[str, float] = {}
        for number, member in enumerate(self.members):
            keys = [one.column_key for one in self.members[:number]]
            if member.column_key in keys:
                answer = member.answer_about(answers[keys.index(member.column_key)].column)
            else:
                answer = member.answer(volume, small, affine)
            answers.append(answer)
            for part, took in answer.seconds.items():
                seconds[part] = seconds.get(part, 0.0) + took
        logits = self.weights.combine([answer.fold_logits for answer in answers])
        return replace(answers[0], fold_logits=logits, seconds=seconds)

    def where_mm(self, answer: Answer) -> np.ndarray:
        """Say where in each level's deciding slice most speaks for a fracture, by the first member.

        Parameters
        ----------
        answer : Answer
            What these networks said about a study.

        Returns
        -------
        ndarray of float64, shape (7, 2)
            As of `Ensemble.where_mm`.
        """
        return self.members[0].where_mm(answer)

    def lighter(self) -> "tuple[Blend, str] | None":
        """Give the same with less work, in every member; as `Ensemble.lighter`.

        Returns
        -------
        models : Blend
            The lighter one.
        words : str
            What it does without; None instead of both where nothing is left to go without.
        """
        mirrored = any(member.preset.mirrored_too for member in self.members)
        found = [
            member.lighter() if member.preset.mirrored_too or not mirrored else None
            for member in self.members
        ]
        if not any(found):
            return None
        words = next(one[1] for one in found if one)
        members = [one[0] if one else member for one, member in zip(found, self.members, strict=True)]
        return Blend(members, self.weights), words


Models = Ensemble | Blend
"""What can be asked about a study."""


def load_models(run: Path, device: torch.device | None = None) -> Models:
    """Read the checkpoints of a run, or of all members of a blend.

    Parameters
    ----------
    run : Path
        The folder of a run or a blend.
    device : torch.device, optional
        Where the networks are put; by default the first GPU, or the CPU.

    Returns
    -------
    Ensemble or Blend
        The networks.

    Raises
    ------
    InputError
        As `Ensemble.load`, and if the members differ in their folds or the locator's spacing.
    """
    weights = read_blend(run)
    if weights is None:
        return Ensemble.load(run, device)
    members = [Ensemble.load(one, device) for one in weights.runs]
    first = members[0]
    for one, member in zip(weights.runs, members, strict=True):
        if len(member.classifiers) != len(first.classifiers):
            raise InputError(
                f"{one}: found {folds_in_words(one)}, but {folds_in_words(weights.runs[0])} in {weights.runs[0]}; "
                "expected the same folds in every member; `make train` makes those that are missing"
            )
        if (member.split, member.spacing_mm) != (first.split, first.spacing_mm):
            raise InputError(
                f"{one}: found another split of the studies, or a locator at {member.spacing_mm} mm; expected those "
                f"of {weights.runs[0]} ({first.spacing_mm} mm); blend runs of one split and one locator's spacing"
            )
    return Blend(members, weights)

"""What the Kaggle kernel did, for inference.json and for the end of its log."""

from dataclasses import dataclass, field
from typing import Any

from cspine.settings.layout import FALLBACKS

MUCH = 0.05
"""Share of studies on constants that is told in capitals."""


@dataclass
class InferenceReport:
    """What the kernel did, as `inference.json` beside the submission."""

    studies: int = 0
    predicted: int = 0
    seconds: float = 0.0
    models: str = ""
    """How many folds answered."""
    device: dict[str, Any] = field(default_factory=dict)
    """Name, precision, number of GPUs and versions, as the process on it says."""
    folds: list[int] = field(default_factory=list)
    """The folds that were used."""
    problem: str = ""
    """What kept the models from being used at all."""
    problems: list[str] = field(default_factory=list)
    """Everything else that went wrong: folds that were left out, processes that died, files that were not written."""
    fell_back: dict[str, str] = field(default_factory=dict)
    """Study -> why it fell back to the constants."""
    not_in_view: dict[str, list[str]] = field(default_factory=dict)
    """Study -> levels that the scan does not show, which got their constants."""
    notes: dict[str, list[str]] = field(default_factory=dict)
    """Study -> what had to be mended to predict it."""
    verdicts: dict[str, int] = field(default_factory=dict)
    """What is thought of the label map ("sure", "doubtful") -> predicted studies."""
    seconds_by_part: dict[str, float] = field(default_factory=dict)
    """Part ("decode", "locate", "cut", "classify") -> seconds over all studies."""
    rehearsal: dict[str, Any] = field(default_factory=dict)
    """What a run outside of the scoring run tried, and what it says about the hidden studies."""
    slopes: dict[str, float] = field(default_factory=dict)
    """The slopes that were used for the folds' mean ("level", "overall"), and the share of the held-out logits'
    spread that averaging removes ("level_removed", "overall_removed")."""

    def lines(self) -> list[str]:
        """Sum up, for the log's end.

        Returns
        -------
        list of str
            A table, and in capitals that many studies are on constants.
        """
        on_constants = self.studies - self.predicted
        rows = {
            "device": self.device.get("name", "none"),
            "folds": ", ".join(map(str, self.folds)) or "none",
            "studies": self.studies,
            "predicted": self.predicted,
            "on constants": on_constants,
            "with a level out of view": len(self.not_in_view),
            "problems": len(self.problems) + bool(self.problem),
            "seconds": self.seconds,
            **{f"seconds, {part}": took for part, took in self.seconds_by_part.items()},
            **{f"rehearsal, {name}": value for name, value in self.rehearsal.items()},
        }
        lines = [f"{name:<36} {value}" for name, value in rows.items()]
        if on_constants > MUCH * self.studies:
            lines.append(
                f"{on_constants} OF {self.studies} STUDIES ARE ON CONSTANTS: SEE {FALLBACKS.upper()}"
            )
        return lines

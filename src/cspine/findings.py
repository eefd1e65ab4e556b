"""What a doctor looked at, and what to do about each thing that is not right."""

from collections.abc import Callable
from dataclasses import dataclass

from cspine.errors import InputError


class Advice(InputError):
    """Something that is well to know, and that nothing has to wait for."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    """As "rules"."""
    is_right: bool
    """Whether the work can go on."""
    words: str
    """What was found; where it is not right, with what to do."""
    is_advice: bool = False
    """Whether it is well to know, although the work can go on."""


def find(subject: str, look: Callable[[], str]) -> Finding:
    """Look at one thing.

    Parameters
    ----------
    subject : str
        What it is called.
    look : callable
        Gives words; raises InputError where something is not right, Advice where it is well to know.

    Returns
    -------
    Finding
        What was found.
    """
    try:
        return Finding(subject, True, look())
    except Advice as error:
        return Finding(subject, True, str(error), is_advice=True)
    except InputError as error:
        return Finding(subject, False, str(error))


def report(findings: list[Finding], purpose: str) -> None:
    """Print what was found, a line each.

    Parameters
    ----------
    findings : list of Finding
        As from `find`.
    purpose : str
        What they are needed for, as in "not ready to push".

    Raises
    ------
    InputError
        If something is not right.
    """
    for finding in findings:
        sign = "NO " if not finding.is_right else "?  " if finding.is_advice else "ok "
        print(f"{sign} {finding.subject:<12} {finding.words}")
    wrong = [finding.subject for finding in findings if not finding.is_right]
    if wrong:
        raise InputError(f"not ready {purpose}: {', '.join(wrong)}; each line above says what to do")

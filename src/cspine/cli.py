"""What every script shares: flags, one line a stage, a progress bar, exit code 2."""

import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from tqdm import tqdm

from cspine.errors import InputError

Flags = TypeVar("Flags")


def run(main: Callable[[Flags], None], flags_type: type[Flags]) -> None:
    """Parse the command line into `flags_type`, call `main`, and end as a script should.

    Exit codes: 0 done; 2 something handed in can't be used (message on stderr); anything else is our fault
    and keeps its traceback.

    Parameters
    ----------
    main : callable
        The script's work, given the flags. The docstring of its module becomes the text of `--help`.
    flags_type : type
        The dataclass of the script's flags.

    Raises
    ------
    SystemExit
        With code 2, if a flag or something that it names can't be used.
    """
    import tyro  # only scripts parse flags; the kernel's image lacks tyro
    from pydantic import ValidationError

    try:
        main(tyro.cli(flags_type, description=sys.modules[main.__module__].__doc__))
    except ValidationError as error:
        for problem in error.errors():
            flag = "--" + ".".join(str(part) for part in problem["loc"]).replace("_", "-")
            print(f"error: {flag}: {problem['msg']}, got {problem['input']!r}", file=sys.stderr)
        sys.exit(2)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def log_stage(stage: str, *, read: Any, wrote: Any, **facts: Any) -> None:
    """Print a stage's one line: what it read, what it wrote, and a few figures.

    Parameters
    ----------
    stage : str
        The stage's name.
    read : object
        What was read, printed as text.
    wrote : object
        What was written, printed as text.
    **facts : object
        Further figures by name; underscores in a name are printed as spaces.
    """
    figures = "".join(f", {name.replace('_', ' ')} {value}" for name, value in facts.items())
    print(f"{stage:<11} read {read} -> wrote {wrote}{figures}", flush=True)


def progress(items: Iterable | None = None, *, unit: str, total: int | None = None, what: str = "") -> tqdm:
    """Show a progress bar with its rate, on a terminal only (a log stays free of it).

    Parameters
    ----------
    items : iterable, optional
        What is gone through; without it the caller moves the bar.
    unit : str
        What one item is called.
    total : int, optional
        How many items there are, where `items` can't tell.
    what : str
        What is in progress, shown before the bar.

    Returns
    -------
    tqdm
        The bar; going through it gives the items.
    """
    return tqdm(items, total=total, unit=unit, desc=what, disable=not sys.stderr.isatty(), dynamic_ncols=True)

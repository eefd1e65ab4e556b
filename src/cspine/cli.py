"""What every script shares: flags, one line a stage, a progress bar, exit code 2."""

import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from cspine.errors import ADVICE, InputError, os_error_words, printable

Flags = TypeVar("Flags")

SHORT = {"-i": "--input", "-o": "--out"}
"""Short forms of flags, in the scripts that have them."""
TOLD_TO_STARTER = "TORCHELASTIC_ERROR_FILE"
"""Variable by which torchrun's agent names a file to each process that it starts, for its error."""
LOG_EVERY_S = 60.0
"""How often long work says in a log how far it is."""


def run(main: Callable[[Flags], None], flags_type: type[Flags]) -> None:
    """Parse the command line into `flags_type`, call `main`, and end as a script should.

    Exit codes: 0 done; 2 something handed in can't be used, or the operating system refuses it (message on
    stderr); 130 stopped with Ctrl-C; anything else is our fault and keeps its traceback.

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

    os.environ["MPLBACKEND"] = "agg"  # a notebook's own, inherited, may not be installed here
    names = {field.name for field in fields(flags_type)}  # type: ignore[arg-type]
    words = [SHORT[word] if word in SHORT and SHORT[word][2:] in names else word for word in sys.argv[1:]]
    with errors_told():
        main(tyro.cli(flags_type, args=words, description=sys.modules[main.__module__].__doc__))


@contextmanager
def errors_told() -> Iterator[None]:
    """End as a script should: what went wrong as a sentence, and the exit code that `run` states.

    Words that can't be shown cost nothing else: letters that a screen lacks are escaped, and where nobody reads any
    more (a closed pipe, a full disk, a lost terminal) the work goes on in silence.

    One of several processes that train together hands its sentence to the one that started them.

    Yields
    ------
    None
        While errors are watched for.

    Raises
    ------
    SystemExit
        With code 2 or 130.
    """
    from pydantic import ValidationError

    if sys.stdout is sys.__stdout__ and sys.stderr is sys.__stderr__:
        sys.stdout, sys.stderr = _to_whoever_reads(sys.stdout), _to_whoever_reads(sys.stderr)
    try:
        yield
    except KeyboardInterrupt:
        if TOLD_TO_STARTER not in os.environ:
            print("stopped; run again to go on", file=sys.stderr)
        sys.exit(130)
    except ValidationError as error:
        for problem in error.errors():
            flag = "--" + ".".join(str(part) for part in problem["loc"]).replace("_", "-")
            _tell(f"{flag}: {problem['msg']}, got {problem['input']!r}")
        sys.exit(2)
    except InputError as error:
        _tell(str(error))
        sys.exit(2)
    except OSError as error:
        if error.filename is None and error.errno not in ADVICE:
            raise  # of no file, and nothing is to be advised: our fault
        _tell(os_error_words(error))
        sys.exit(2)


class _Heard(io.FileIO):
    """A stream of words as long as somebody reads it, then nothing."""

    def write(self, words: Any, /) -> int:
        try:
            return super().write(words)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return len(words)


def _to_whoever_reads(stream: Any) -> Any:
    """The same stream, which neither a letter nor a reader that is gone stops."""
    if not isinstance(stream, io.TextIOWrapper):  # none at all, or a notebook's
        return stream
    stream.flush()
    heard = io.BufferedWriter(_Heard(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(heard, stream.encoding, "backslashreplace", line_buffering=stream.line_buffering)


def _tell(words: str) -> None:
    """Print an error's sentence, or leave it where torchrun's agent looks for it."""
    starter = os.environ.get(TOLD_TO_STARTER)
    if starter:
        Path(starter).write_text(json.dumps({"message": printable(words), "timestamp": "0"}))
    else:
        print(f"error: {printable(words)}", file=sys.stderr)


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
    print(printable(f"{stage:<11} read {read} -> wrote {wrote}{figures}"), flush=True)


def on_terminal() -> bool:
    """Say whether somebody watches a terminal, where bars can move; otherwise a log is written.

    Returns
    -------
    bool
        True on a terminal.
    """
    return sys.stderr.isatty()


def duration(seconds: float) -> str:
    """Write a time as people say it.

    Parameters
    ----------
    seconds : float
        The time, at least 0.

    Returns
    -------
    str
        As "40 s", "12 min" or "3.5 h".
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class _LogLines(tqdm):
    """A bar for logs: a complete line a minute, and nothing for what is done sooner."""

    def __init__(self, *args: Any, **kwargs: Any):
        self.told = time.monotonic()
        super().__init__(*args, **kwargs)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Print the bar's text if the last line is a minute old."""
        if time.monotonic() - self.told >= LOG_EVERY_S:
            self.told = time.monotonic()
            print(msg or str(self), file=sys.stderr, flush=True)

    def close(self) -> None:
        """End without a last line: the stage's own says what came out."""
        self.disable = True


def progress(
    items: Iterable | None = None, *, unit: str, total: int | None = None, what: str = "", here: bool = True
) -> tqdm:
    """Show a progress bar with its rate on a terminal, and a line a minute in a log.

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
    here : bool
        False shows nothing: another process does.

    Returns
    -------
    tqdm
        The bar; going through it gives the items.
    """
    options = {"unit": unit, "total": total, "desc": what, "disable": not here}
    if on_terminal():
        return tqdm(items, dynamic_ncols=True, **options)
    words = "{desc}: {n_fmt} of {total_fmt} {unit} after {elapsed}, {rate_fmt}, {remaining} left"
    return _LogLines(items, bar_format=words, **options)

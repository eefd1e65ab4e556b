"""The one error that is meant for the person at the keyboard, and how the system's own errors are told."""

import errno

ADVICE = {
    errno.EACCES: "check who may read and write it",
    errno.EPERM: "check who may read and write it",
    errno.EROFS: "that file system can only be read; name a folder on another one",
    errno.ENAMETOOLONG: "the name is longer than this file system allows; name a shorter one",
    errno.ENOTDIR: "a file stands where a folder is expected; name another place",
    errno.EISDIR: "a folder stands where a file is expected; name another place",
    errno.EEXIST: "a file of that name is in the way; move it or name another place",
    errno.ENOENT: "it was there a moment ago, or something above it is missing; check the path",
    errno.ENOSPC: "the disk is full; make room or name another folder, then run again",
    errno.EDQUOT: "the quota is used up; make room or name another folder, then run again",
    errno.EMFILE: "too many files are open; raise the limit with `ulimit -n 4096`",
    errno.EIO: "the disk or the network share does not answer as it should; copy the files, then run again",
    errno.ESTALE: "the network share was mounted anew meanwhile; run again",
    errno.ENOMEM: "no memory is left; use fewer workers",
    errno.ELOOP: "links that point at each other; name the folder itself",
}
"""What to do about an error of the operating system."""


class InputError(ValueError):
    """Something handed to the kit can't be used.

    The message names the file or study, what was found, what was expected and what to do. A stage turns
    it into exit code 2; a loop over studies turns it into a row of its index and goes on.
    """


def os_error_words(error: OSError) -> str:
    """Say what the operating system refused, and what to do.

    Parameters
    ----------
    error : OSError
        Its error.

    Returns
    -------
    str
        The path where the error has one, the system's words, and advice where there is some.
    """
    paths = [str(path) for path in (error.filename, error.filename2) if path is not None]
    words = error.strerror or str(error) or type(error).__name__
    advice = f"; {ADVICE[error.errno]}" if error.errno in ADVICE else ""
    return (f"{' -> '.join(paths)}: " if paths else "") + words + advice


def printable(words: str, at_most: int | None = None) -> str:
    """Make text that came from files or names of files harmless to print and to draw.

    Parameters
    ----------
    words : str
        Any text.
    at_most : int, optional
        How many letters of it are kept.

    Returns
    -------
    str
        On one line, without control characters and halves of letters.
    """
    return "".join(letter if letter.isprintable() else "?" for letter in words)[:at_most]

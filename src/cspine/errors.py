"""The one error that is meant for the person at the keyboard."""


class InputError(ValueError):
    """Something handed to the kit can't be used.

    The message names the file or study, what was found, what was expected and what to do. A stage turns
    it into exit code 2; a loop over studies turns it into a row of its index and goes on.
    """

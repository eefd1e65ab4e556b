"""What every refusal of a table has to say."""

from collections.abc import Callable

import pytest

from cspine.errors import InputError


def refused(call: Callable, words: list[str]) -> str:
    """The call ends in an InputError that tells what was found and expected, what to do, and these words."""
    with pytest.raises(InputError) as error:
        call()
    message = str(error.value)
    for word in ["found ", "expected ", "; ", *words]:
        assert word in message, f"{word!r} is not in {message!r}"
    return message

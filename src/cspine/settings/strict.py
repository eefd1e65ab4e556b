"""The one form of a checked dataclass: unknown fields are an error, and values fit their types.

Every class of settings or flags is `@dataclass(frozen=True, config=STRICT)` with pydantic's dataclass.
"""

from pydantic import ConfigDict

STRICT = ConfigDict(extra="forbid")

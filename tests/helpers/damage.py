"""Ways in which a .dcm file can be broken, each as a function from the file's bytes to other bytes or a trap."""

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

PIXELS = b"\xe0\x7f\x10\x00"
TAGS = {"Rows": 0x10, "Columns": 0x11, "BitsAllocated": 0x100}
"""Elements of group 0028 that hold one unsigned short."""


def pixel_start(content: bytes) -> int:
    """Where the pixel data element begins."""
    return content.index(PIXELS)


def cut(share: float) -> Callable[[bytes, random.Random], bytes]:
    """Keep a share of the file."""
    return lambda content, _: content[: int(len(content) * share)]


def flip(in_pixels: bool, count: int) -> Callable[[bytes, random.Random], bytes]:
    """Turn single bits over, in the header or behind it."""

    def damaged(content: bytes, rng: random.Random) -> bytes:
        changed, start = bytearray(content), pixel_start(content)
        low, high = (start + 12, len(content)) if in_pixels else (132, start)
        for _ in range(count):
            changed[rng.randrange(low, high)] ^= 1 << rng.randrange(8)
        return bytes(changed)

    return damaged


def short_value(name: str, value: int | None) -> Callable[[bytes, random.Random], bytes]:
    """Give Rows, Columns or BitsAllocated another value, or take the element out."""

    def damaged(content: bytes, _: random.Random) -> bytes:
        tag = struct.pack("<HH", 0x28, TAGS[name])
        at = next(content.index(head) for head in (tag + b"US\2\0", tag + b"\2\0\0\0") if head in content)
        return (
            content[:at]
            + (b"" if value is None else content[at : at + 8] + struct.pack("<H", value))
            + content[at + 10 :]
        )

    return damaged


def insert(element: Callable[[bool], bytes]) -> Callable[[bytes, random.Random], bytes]:
    """Put an element in front of group 0028."""

    def damaged(content: bytes, _: random.Random) -> bytes:
        explicit = b"\x28\0\2\0US\2\0" in content
        at = content.index(b"\x28\0\2\0")
        return content[:at] + element(explicit) + content[at:]

    return damaged


def _long(tag: bytes, vr: bytes, length: int, value: bytes) -> Callable[[bool], bytes]:
    def element(explicit: bool) -> bytes:
        if not explicit:
            return tag + struct.pack("<I", length) + value
        if vr in (b"UN", b"OB"):
            return tag + vr + b"\0\0" + struct.pack("<I", length) + value
        return tag + vr + struct.pack("<H", min(length, 0xFFFE)) + value[: min(length, 0xFFFE)]

    return element


def pixel_length(content: bytes, _: random.Random) -> bytes:
    """Pixels that claim 4 GB."""
    at = pixel_start(content)
    head = at + (4 if content[at + 4 : at + 6] not in (b"OW", b"OB") else 8)
    return content[:head] + struct.pack("<I", 0xFFFFFFFE) + content[head + 4 :]


def uid(text: bytes) -> Callable[[bytes, random.Random], bytes]:
    """Another SeriesInstanceUID, in front of the true one, of which a reader sees one or the other."""
    text += b"\0" * (len(text) % 2)
    return insert(_long(b"\x20\0\x0e\0", b"UI", len(text), text))


def odd_offset_table(content: bytes, _: random.Random) -> bytes:
    """Compressed pixels that begin with an offset table of three bytes, at which dicomsdl ends its process."""
    at = pixel_start(content) + 12
    if content[at : at + 8] != b"\xfe\xff\0\xe0\0\0\0\0":
        return content[:at]  # plain pixels, or a table that is in use
    return content[:at] + b"\xfe\xff\0\xe0\3\0\0\0abc" + content[at + 8 :]


LOST = {
    "empty": cut(0.0),
    "a few bytes": cut(0.02),
    "cut in the header": cut(0.2),
    "cut before the pixels": lambda content, _: content[: pixel_start(content)],
    "cut after the tag": lambda content, _: content[: pixel_start(content) + 4],
    "text": lambda *_: b"<html>not found</html>\n",
    "noise": lambda content, rng: rng.randbytes(len(content)),
    "zeros": lambda content, _: bytes(len(content)),
    "no rows": short_value("Rows", 0),
    "no columns": short_value("Columns", 0),
    "4 GB header": insert(_long(b"\x27\0\x10\x10", b"UN", 0xFFFFFFF0, b"")),
}
"""No reader can make a slice of these."""
DOUBTFUL = {
    "half": cut(0.5),
    "three quarters": cut(0.75),
    "last bytes": lambda content, _: content[:-11],
    "one bit of the header": flip(False, 1),
    "bits of the header": flip(False, 20),
    "one bit of the pixels": flip(True, 1),
    "bits of the pixels": flip(True, 40),
    "more rows": short_value("Rows", 65535),
    "more columns": short_value("Columns", 33),
    "8 bits": short_value("BitsAllocated", 8),
    "0 bits": short_value("BitsAllocated", 0),
    "absurd bits": short_value("BitsAllocated", 65535),
    "no bits": short_value("BitsAllocated", None),
    "4 GB pixels": pixel_length,
    "odd offset table": odd_offset_table,
    "endless UID": uid(b"1.2." + b"3" * 60_000),
    "absurd UID": uid(bytes(range(1, 255))),
    "UID that climbs": uid(b"../../../../../../../../tmp/evil"),
}
"""These may cost the slice or be read, depending on the syntax and on which bit it is."""


def no_rights(path: Path) -> None:
    """A file that can't be opened, but by root."""
    path.chmod(0)


def loop(path: Path) -> None:
    """A symbolic link to itself."""
    path.unlink()
    path.symlink_to(path.name)


def dangling(path: Path) -> None:
    """A symbolic link to nothing."""
    path.unlink()
    path.symlink_to("../nothing.dcm")


def endless(path: Path) -> None:
    """A link to a device that never ends."""
    path.unlink()
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    """A named pipe that nobody writes to."""
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    """A folder in a file's place."""
    path.unlink()
    path.mkdir()


TRAPS = {
    "no rights": no_rights,
    "loop": loop,
    "dangling": dangling,
    "endless": endless,
    "pipe": pipe,
    "folder": folder,
}
"""No regular files that can be read."""

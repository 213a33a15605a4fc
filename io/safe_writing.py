"""Files that are written whole or not at all, and found out to be writable before the work."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InputError

__all__ = ["check_distinct", "check_room", "check_writable", "is_standard_output", "writing"]


def is_standard_output(path: str | os.PathLike[str] | None) -> bool:
    """Whether a name means the standard output: ``-`` or ``/dev/stdout``."""
    return path is not None and os.fspath(path) in ("-", "/dev/stdout")


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary stream whose content takes the place of a file when the block ends without an error.

    It is put together in a file beside, which then takes the name, with the permissions of the one that had it; after
    an error that file is removed and what lay under the name is untouched. Standard output, devices and pipes are
    written to directly.

    Raises
    ------
    OSError
        With the path and what is wrong.
    """
    with _naming(path), contextlib.ExitStack() as stack:
        if is_standard_output(path):
            sys.stdout.flush()
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
            return
        target = Path(os.path.realpath(path))
        if _is_special(target):
            yield stack.enter_context(target.open("wb"))
            return
        beside = _created_beside(target)
        stack.callback(beside.unlink, missing_ok=True)
        with beside.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())  # some file systems find only here that they are full
        if target.exists():
            beside.chmod(stat.S_IMODE(target.stat().st_mode))
        beside.replace(target)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out before the work whether its result can be written, by making a file where it will be put together.

    Raises
    ------
    OSError
        With the path and what is wrong.
    """
    if is_standard_output(path):
        return
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"{path}: is a directory; wanted a file to write")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path}: the directory {Path(path).parent} does not exist")
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(f"{path}: cannot be written to")
    if not _is_special(target):
        with _naming(path):
            _created_beside(target).unlink()


def check_room(path: str | os.PathLike[str], size: int) -> None:
    """Find out before the work whether some bytes fit on the disk.

    Raises
    ------
    OSError
        With the path, what is free and what is needed.
    """
    target = Path(os.path.realpath(path))
    if is_standard_output(path) or _is_special(target):
        return
    free = shutil.disk_usage(target.parent).free
    if free < size:
        raise OSError(errno.ENOSPC, f"about {size} bytes are needed on a disk with {free} free", os.fspath(path))


def check_distinct(outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    """Refuse two outputs in one place, and an output in place of an input; absent ones are None.

    Parameters
    ----------
    outputs, inputs : dict
        From what messages call them to their paths.

    Raises
    ------
    InputError
    """
    taken: dict[str, str] = {}
    for name, path in inputs.items():
        if path not in (None, "-") and not _is_special(Path(os.path.realpath(path))):
            taken[os.path.realpath(path)] = name
    for name, path in outputs.items():
        if path is None:
            continue
        place = "-" if is_standard_output(path) else os.path.realpath(path)
        if place in taken:
            raise InputError(f"{name}: found {path}, which is {taken[place]} too; wanted another file")
        if not _is_special(Path(place)):
            taken[place] = name


def _is_special(target: Path) -> bool:
    """A device or a pipe: nothing can take its place."""
    return target.exists() and not target.is_file() and not target.is_dir()


def _created_beside(target: Path) -> Path:
    """A new empty file in the same folder."""
    beside = target.with_name(f".resolvent-{secrets.token_hex(6)}.part")
    os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    return beside


@contextlib.contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """An error of the system names the file that was asked for, not the one beside it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), os.fspath(path)) from error

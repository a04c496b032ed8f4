"""File handling: atomic writes, private files where required, and no following of other users' links."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
# Windows has neither; there the permissions of the user's profile must suffice.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)


class UnsafePathError(OSError):
    """A path is a link, not a plain file, or owned by another user: its content may have been planted."""


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; it replaces ``path`` if the block succeeds, and is removed otherwise.

    It is in the same folder, has the same suffix and is readable by its owner only until it is in place, where it gets
    the permissions of any new file of the user.
    """
    temporary = path.with_name(f".{path.stem[:60]}.{secrets.token_hex(6)}.tmp{path.suffix}")
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
        yield temporary
        _give_usual_rights(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file atomically: a reader finds the old content or the new one, never half; text is UTF-8."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def write_private(path: Path, content: str | bytes) -> None:
    """Write a file atomically that only its owner may read."""
    temporary = path.with_name(f".{path.name[:60]}.{secrets.token_hex(6)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def make_private_folders(base: Path, *names: str) -> Path:
    """Create the folder ``base/name/name...`` if it is missing, with each name private to this user.

    Args:
        base: Created like any folder of the user; its owner is not checked.
        names: Names of the folders below it; an existing one is checked by ``check_private_folder``.

    Raises:
        OSError: If a folder cannot be created, or is not private to this user.
    """
    base.mkdir(parents=True, exist_ok=True)
    for name in names:
        base = base / name
        with contextlib.suppress(FileExistsError):
            base.mkdir(mode=PRIVATE_FOLDER)
        check_private_folder(base)
    return base


def check_private_folder(path: Path) -> None:
    """Check that a folder belongs to this user; permissions that others have on it are removed.

    Raises:
        UnsafePathError: If it is a link, not a folder, or owned by another user.
        OSError: If it does not exist.
    """
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode):
        raise UnsafePathError(f"{path} is a link or not a folder")
    _check_owner(path, info)
    if _has_owners() and stat.S_IMODE(info.st_mode) & 0o077:
        path.chmod(PRIVATE_FOLDER)


def open_private(path: Path, flags: int) -> int:
    """Open a plain file of this user and return its descriptor; a new file is readable by no one else.

    Raises:
        UnsafePathError: If it is a link, has another hard link, is not a plain file, or is owned by another user.
        OSError: If it cannot be opened.
    """
    descriptor = os.open(path, flags | _NO_LINK | _NO_WAIT, PRIVATE_FILE)
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise UnsafePathError(f"{path} is not a plain file")
        if info.st_nlink > 1:
            raise UnsafePathError(f"{path} has a second name elsewhere")
        _check_owner(path, info)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read_private(path: Path, *, limit_bytes: int) -> bytes:
    """The content of a plain file of this user.

    Raises:
        UnsafePathError: As ``open_private``; also if the file is longer than ``limit_bytes``.
        OSError: If it cannot be read.
    """
    with os.fdopen(open_private(path, os.O_RDONLY), "rb") as file:
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise UnsafePathError(f"{path} is longer than {limit_bytes} bytes")
    return content


def private_subfolders(root: Path) -> list[Path]:
    """The folders below a root by name, without links; empty if the root is missing or not this user's."""
    try:
        check_private_folder(root)
        with os.scandir(root) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _check_owner(path: Path, info: os.stat_result) -> None:
    if _has_owners() and info.st_uid != os.geteuid():
        raise UnsafePathError(f"{path} belongs to another user (id {info.st_uid})")


def _has_owners() -> bool:
    return hasattr(os, "geteuid")


def _give_usual_rights(path: Path) -> None:
    if _has_owners():
        mask = os.umask(0o077)
        os.umask(mask)
        path.chmod(0o666 & ~mask)

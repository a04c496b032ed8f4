"""Build dated versions of the tables: ``python data/upstream/rebuild.py [TABLE ...] [--fetch] [--check]``.

Without ``--fetch`` each version that has a changes file is built again from it. With it the pages of one table are
read, live or from ``--pages FOLDER``, and become the changes of a new version, ``--version``. With ``--check`` nothing
is written: what would change against the newest version is printed, and the exit status says whether anything would.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType
from urllib.request import Request, urlopen

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent))
from versions import (
    CHANGES,
    DATA,
    read_changes,
    schema_of,
    version_before,
    version_rows,
    version_text,
    versions_with_changes,
    write_changes,
    write_version,
)

TIMEOUT_S = 60.0
FETCHED, DERIVED = "1-fetched", "9-derived"
AFTER_EVERY_VERSION = "9999-12-31"


def read_pages(module: ModuleType, folder: Path | None) -> dict[str, bytes]:
    """The content of every page that a fetcher names: from a folder of recorded ones, else live."""
    if folder is not None:
        return {name: (folder / name).read_bytes() for name in module.PAGES}
    return {name: _download(url) for name, url in module.PAGES.items()}


def _download(url: str) -> bytes:
    if not url.startswith("https://"):
        raise SystemExit(f"{url} is no https address")
    request = Request(url, headers={"User-Agent": "greenlove-mlflow data/upstream"})  # noqa: S310 - https only
    with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - https only
        content: bytes = answer.read()
    return content


def fetch(name: str, version: str, folder: Path | None) -> list[dict[str, str]]:
    """The changes that the pages of today make to a table, with what is worked out from its rows."""
    module = importlib.import_module(name)
    pages = read_pages(module, folder)
    before = version_before(name, version).to_dict("records")
    return list(module.changes(pages, before))


def derive(name: str, lines: list[dict[str, str]], version: str) -> list[dict[str, str]]:
    """The lines that a table works out from its own rows; none where it works out nothing."""
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError:
        return []
    rows = version_rows(name, lines, version).to_dict("records")
    return list(module.derived(rows, version)) if hasattr(module, "derived") else []


def differences(before: pd.DataFrame, after: pd.DataFrame, key: tuple[str, ...]) -> list[str]:
    """What changed from one version to another, a line each: rows gone, rows new, cells with both values."""
    old = {tuple(row[part] for part in key): row for row in before.to_dict("records")}
    new = {tuple(row[part] for part in key): row for row in after.to_dict("records")}
    lines = [f"- {'|'.join(map(str, row))}" for row in old if row not in new]
    lines += [f"+ {'|'.join(map(str, row))}" for row in new if row not in old]
    for row in old.keys() & new.keys():
        lines += [
            f"~ {'|'.join(map(str, row))} {column}: {old[row].get(column)} -> {value}"
            for column, value in new[row].items()
            if (old[row].get(column) or None) != (value or None)
        ]
    return sorted(lines)


def main(arguments: list[str]) -> int:
    """Build, fetch or check; 1 when a check finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", help="tables; all that have a changes file when none is named")
    parser.add_argument("--fetch", action="store_true", help="read the table's pages and make a new version's changes")
    parser.add_argument("--pages", type=Path, help="folder of recorded pages to read in place of the live ones")
    parser.add_argument("--version", help="date of the new version, ISO 8601")
    parser.add_argument("--check", action="store_true", help="print what would change, write nothing")
    parser.add_argument("--accessed", help="the day the sources were read; by default the version's")
    options = parser.parse_args(arguments)
    names = options.tables or sorted(folder.name for folder in CHANGES.iterdir())
    if options.fetch and not options.version:
        parser.error("--fetch needs --version, the date of the new version")
    changes = 0
    for name in names:
        if options.fetch:
            changes += _fetch(name, options)
        else:
            changes += sum(_build(name, version, options) for version in versions_with_changes(name))
    return 1 if options.check and changes else 0


def _fetch(name: str, options: argparse.Namespace) -> int:
    lines = fetch(name, options.version, options.pages)
    if options.check:
        newest = version_before(name, AFTER_EVERY_VERSION)
        after = version_rows(name, lines, options.version)
        found = differences(newest, after, schema_of(name).key)
        print("\n".join(found) or f"{name}: nothing would change")
        return len(found)
    write_changes(name, options.version, FETCHED, lines)
    return _build(name, options.version, options)


def _build(name: str, version: str, options: argparse.Namespace) -> int:
    derived = derive(name, read_changes(name, version, without=DERIVED), version)
    if derived and not options.check:
        write_changes(name, version, DERIVED, derived)
    text = version_text(name, version)
    path = DATA / name / f"{version}.csv"
    same = path.exists() and path.read_text(encoding="utf-8") == text
    if options.check:
        print(f"{name} {version}: {'as its changes make it' if same else 'differs from its changes'}")
    else:
        write_version(name, version, text, published=version, accessed=options.accessed or version)
        print(f"{name} {version}: {len(text.splitlines()) - 1} lines")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

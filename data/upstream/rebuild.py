"""Build a dated version from the one before and its changes: ``python data/upstream/rebuild.py [TABLE ...]``.

Without ``--check`` the newest version of each table that has a changes file is written; with it nothing is, and the
script says whether what is in the repository is what the changes make.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from versions import CHANGES, DATA, version_text, write_version


def changed_tables() -> list[str]:
    """The tables that have a changes file."""
    return sorted(folder.name for folder in CHANGES.iterdir() if any(folder.glob("*.csv")))


def main(arguments: list[str]) -> int:
    """Build or check; 1 when a check finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", help="tables; all that have a changes file when none is named")
    parser.add_argument("--check", action="store_true", help="compare with what is in the repository, write nothing")
    parser.add_argument("--accessed", default="2026-11-27", help="the day the sources were read, written to the TOML")
    options = parser.parse_args(arguments)
    differences = 0
    for name in options.tables or changed_tables():
        for changes in sorted((CHANGES / name).glob("*.csv")):
            text = version_text(name, changes.stem)
            path = DATA / name / changes.name
            if options.check:
                same = path.exists() and path.read_text(encoding="utf-8") == text
                differences += not same
                print(f"{name} {changes.stem}: {'as its changes make it' if same else 'differs from its changes'}")
            else:
                write_version(name, changes.stem, text, published=changes.stem, accessed=options.accessed)
                print(f"{name} {changes.stem}: {len(text.splitlines()) - 1} lines")
    return 1 if differences else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

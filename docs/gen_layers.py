"""The order of the rooms, from the contracts that import-linter checks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def render_layers(container: str) -> str:
    """The layers of one package as a block, the highest first; what stands side by side knows nothing of the other."""
    (contract,) = [each for each in contracts() if each.get("containers") == [container]]
    return "\n".join(["```text", *contract["layers"], "```"])


def contracts() -> list[dict[str, Any]]:
    """The contracts of pyproject.toml."""
    settings = tomllib.loads(PYPROJECT.read_text("utf-8"))
    return list(settings["tool"]["importlinter"]["contracts"])

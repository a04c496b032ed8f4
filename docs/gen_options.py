"""The reference of the options of ``track`` and ``estimate``, from the record that holds them."""

from __future__ import annotations

import dataclasses
import re

from greenlove_mlflow.pipeline.options import Options

_ARGUMENT = re.compile(r"^ {4}(\w+): (.+?)(?=^ {4}\w+: |\Z)", re.MULTILINE | re.DOTALL)


def render_options() -> str:
    """One row an option: its name, its default, what it means."""
    meanings = option_meanings()
    rows = [f"| `{each.name}` | {_default(each)} | {_cell(meanings[each.name])} |" for each in option_fields()]
    return "\n".join(["| option | default | meaning |", "|---|---|---|", *rows])


def option_fields() -> list[dataclasses.Field[object]]:
    """The options, in the order of the record."""
    return list(dataclasses.fields(Options))


def option_meanings() -> dict[str, str]:
    """What the record's docstring says of each option."""
    text = (Options.__doc__ or "").split("Args:\n", 1)[1]
    lines = "\n".join(line.removeprefix("    ") for line in text.splitlines())
    return {name: " ".join(words.split()) for name, words in _ARGUMENT.findall(lines)}


def _default(field: dataclasses.Field[object]) -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`" if field.default is not None else ""
    return "" if field.default_factory is not dataclasses.MISSING else "required"


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")

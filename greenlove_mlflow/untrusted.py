"""Makes untrusted text safe for a terminal, a spreadsheet and a message."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
HIDDEN = "***"

# Characters that change text direction: a name containing one can look like another name.
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_LINE_ENDS = frozenset("\u0085\u2028\u2029")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

SECRET_NAME = re.compile(
    r"user|pass|pwd|token|secret|key|credential|auth|signature|(?:^|[_-])sig$|session|cookie", re.IGNORECASE
)
# scheme://user:password@host; a password may contain anything but blanks, slashes and quotes.
_USER_INFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}://)[^\s/'\"<>]*@")
_QUERY_FIELD = re.compile(r"([?&;]|%3[Ff]|%26)([A-Za-z0-9_.-]{1,60})(=|%3[Dd])([^&\s'\"<>;#)\]}]+)")
_HEADER = re.compile(
    r"((?:proxy-)?authorization|cookie|x-api-key|auth-token)(['\"]?\s*[:=]\s*['\"]?)"
    r"((?:basic|bearer|token|digest|negotiate)\s+)?[^\s,'\"}\]]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)
_FIELD = re.compile(
    r"(['\"]?\b[\w-]*(?:password|passwd|pwd|secret|token|api_?key|access_?key)\b['\"]?)(\s*[:=]\s*['\"]?)([^\s,'\"&}\])]+)",
    re.IGNORECASE,
)
# Shorter values may be words that a message needs.
_SHORTEST_SECRET = 4


def printable(text: str, *, lines: bool = False) -> str:
    r"""The text with every character that a terminal would interpret rather than show replaced by U+FFFD.

    Args:
        text: Any untrusted text.
        lines: Whether line ends and tabs may stay.

    >>> printable("\x1b[31mred\u202e")
    '�[31mred�'
    """
    if text.isascii() and text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(char if char in kept or _is_shown(char) else REPLACEMENT for char in text)


def is_printable(text: str) -> bool:
    """Whether a terminal shows all of the text and interprets none of it."""
    return all(map(_is_shown, text))


def spreadsheet_cell(text: str) -> str:
    """The text as a safe spreadsheet cell: an apostrophe before anything that looks like a formula.

    >>> spreadsheet_cell("=HYPERLINK(1)"), spreadsheet_cell("-1.5"), spreadsheet_cell("A100")
    ("'=HYPERLINK(1)", '-1.5', 'A100')
    """
    shown = printable(text, lines=True)
    looks_odd = text.lstrip(" \n").startswith(_FORMULA) and not _NUMBER.fullmatch(shown)
    return f"'{shown}" if looks_odd else shown


def markdown_cell(text: str) -> str:
    r"""The text as a cell of a Markdown table that shows it and interprets none of it.

    A mention is broken up by a space of no width, so that a name in a comment calls nobody.

    >>> print(markdown_cell("a|b <i>*c*"))
    a\|b &lt;i&gt;\*c\*
    """
    shown = printable(text).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for char in "|*_~`[]#":
        shown = shown.replace(char, f"\\{char}")
    return shown.replace("@", "@\u200b")


def scrubbed(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without passwords, tokens and user names in URLs.

    Args:
        text: For example of an exception; those of other libraries may contain whole URLs.
        secrets: Values known to be secret, hidden wherever they occur.

    >>> scrubbed("no answer from http://me:s3cret@host/api?token=abc&page=2")
    'no answer from http://***@host/api?token=***&page=2'
    """
    for secret in sorted(filter(_is_secret, secrets), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _USER_INFO.sub(rf"\1{HIDDEN}@", text)
    text = _QUERY_FIELD.sub(_hide_query_field, text)
    text = _HEADER.sub(rf"\1\2{HIDDEN}", text)
    text = _BEARER.sub(rf"\1\2{HIDDEN}", text)
    return _FIELD.sub(rf"\1\2{HIDDEN}", text)


def _hide_query_field(match: re.Match[str]) -> str:
    mark, name, equals, value = match.groups()
    return f"{mark}{name}{equals}{HIDDEN if SECRET_NAME.search(name) else value}"


def _is_secret(text: str) -> bool:
    return len(text) >= _SHORTEST_SECRET


def _is_shown(char: str) -> bool:
    if char in _TURNING or char in _LINE_ENDS:
        return False
    return unicodedata.category(char) not in ("Cc", "Cs", "Co", "Cn") or char == REPLACEMENT

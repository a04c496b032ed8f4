"""MLflow stores: addresses without credentials, reachability and the meaning of errors."""

from __future__ import annotations

import contextlib
import importlib.util
import random
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests

from greenlove_mlflow.environment import variable_set
from greenlove_mlflow.errors import TrackingError
from greenlove_mlflow.tracking.spool.boundary import OutOfTimeError, first_line, within
from greenlove_mlflow.untrusted import SECRET_NAME

if TYPE_CHECKING:
    from mlflow import MlflowClient

HEALTH_DEADLINE_S = 3.0
# Error codes of a request that will never succeed, however often it is retried.
_PERMANENT = frozenset(
    {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE"}
)
_SQLITE = "sqlite:///"
_TORN_HTTP = re.compile(r"https?(:/?(?!/)|/)", re.IGNORECASE)
_NO_SUCH_RUN = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})
# Messages of MLflow's client about a response that is not the server's own but a proxy's or a login page.
_FOREIGN_ANSWER = re.compile(r"API request to endpoint|not in a valid JSON format", re.IGNORECASE)
_TOO_LARGE = re.compile(r"error code 413\b|entity too large|payload too large|content too large", re.IGNORECASE)
_TROUBLE = re.compile(
    r"failed with error code (429|5\d\d)\b|too many \d+ error|max retries exceeded|API request to \S+ failed|"
    r"failed with exception|timed out|connection",
    re.IGNORECASE,
)


# Opens MLflow's pages for model training; without it, a newer MLflow opens those for language models.
TRAINING_VIEW = "workflowType=machine_learning"


@contextlib.contextmanager
def random_numbers_kept() -> Iterator[None]:
    """A block in which MLflow may draw the name of a run; a training draws the same numbers after it as without it."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


def without_progress_bars() -> AbstractContextManager[None]:
    """A block in which MLflow shows no progress bar for each file that it sends or fetches."""
    return variable_set("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def is_http(uri: str) -> bool:
    """Whether the store is a server on the network."""
    return uri.startswith(("http://", "https://"))


def is_local(uri: str) -> bool:
    """Whether the store is a file or a folder on this machine.

    >>> is_local("sqlite:////tmp/mlflow.db"), is_local("/tmp/mlruns"), is_local("postgresql://db/mlflow")
    (True, True, False)
    """
    scheme = uri.split("://", 1)[0].split("+", 1)[0].lower() if "://" in uri else ""
    if scheme == "sqlite":
        return "file:" not in uri.lower() and uri.split("://", 1)[1].startswith("/")
    return (scheme == "" and not uri.startswith(("databricks", "uc:", "file:"))) or uri.startswith("file:///")


def without_credentials(uri: str) -> str:
    """The address without user, password or query fields that look secret.

    >>> without_credentials("https://me:secret@mlflow.example.org:8443/base")
    'https://mlflow.example.org:8443/base'
    >>> without_credentials("sqlite:////tmp/mlflow.db")
    'sqlite:////tmp/mlflow.db'
    """
    parts = urlsplit(uri)
    if not parts.scheme or parts.scheme == "file":
        return uri
    # Built by hand: urlunsplit drops the empty host of sqlite:////absolute/path.
    query = urlencode([pair for pair in parse_qsl(parts.query) if not SECRET_NAME.search(pair[0])])
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{'?' if query else ''}{query}"


def absolute(uri: str) -> str:
    """The address with a relative SQLite file or folder made absolute, so that it is valid from any folder."""
    match = re.match(r"^(sqlite(?:\+\w+)?:///)([^/?:][^?]*)(\?.*)?$", uri)
    if match and not re.match(r"^[A-Za-z]:[\\/]", match[2]):
        return f"{match[1]}{Path(match[2]).resolve()}{match[3] or ''}"
    if "://" not in uri and not uri.startswith(("databricks", "file:", "uc:")):
        return str(Path(uri).resolve())
    return uri


def is_reachable(uri: str, deadline_s: float = HEALTH_DEADLINE_S) -> bool:
    """Whether a server answers within ``deadline_s`` seconds; always true of a store that is not a server.

    Any status below 500 counts (a proxy without ``/health``, or one that asks for a login), and so does a certificate
    that MLflow may have been told to trust.
    """
    if not is_http(uri):
        return True

    def ask() -> bool:
        try:
            response = requests.get(uri.rstrip("/") + "/health", timeout=deadline_s)
        except requests.exceptions.SSLError:
            return True
        except requests.RequestException:
            return False
        return response.status_code < 500

    try:
        return within(deadline_s, ask)
    except OutOfTimeError:
        return False


def is_permanent(error: BaseException) -> bool:
    """Whether a retry is useless: the store understood the request and refuses it."""
    return getattr(error, "error_code", None) in _PERMANENT and not _FOREIGN_ANSWER.search(str(error))


def is_too_large(error: BaseException) -> bool:
    """Whether the request was refused for its size, for example by a proxy."""
    return bool(_TOO_LARGE.search(str(error)))


def is_trouble(error: BaseException) -> bool:
    """Whether a server exists but is failing: overloaded, its database down, or the connection broken."""
    code = getattr(error, "error_code", None)
    if code in ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"):
        return True
    if isinstance(error, (requests.ConnectionError, requests.Timeout, OutOfTimeError)):
        return True
    return code == "INTERNAL_ERROR" and bool(_TROUBLE.search(str(error)) or type(error).__name__ == "RestException")


def is_gone(client: MlflowClient, run_id: str) -> bool:
    """Whether the store reports the run as missing or deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_run(run_id).info.lifecycle_stage) == "deleted"
    except MlflowException as error:
        return error.error_code in _NO_SUCH_RUN and is_permanent(error)


def run_url(uri: str, experiment_id: str, run_id: str) -> str | None:
    """The URL of the run's page; None for a store that has none."""
    if not is_http(uri):
        return None
    return f"{without_credentials(uri).rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}?{TRAINING_VIEW}"


def check_address(uri: str) -> None:
    """Refuse an address that no store can have, at once: MLflow would try it for minutes, or take it for a folder.

    Raises:
        TrackingError: If it is one; the message says what is wrong with it.
    """
    wrong = ""
    try:
        _ = urlsplit(uri).port if is_http(uri) else None
    except ValueError:  # its words may hold a part of a password
        wrong = "its host or port cannot be read"
    path = Path(uri.removeprefix(_SQLITE).partition("?")[0])
    if uri.startswith(_SQLITE) and path.is_dir():
        wrong = f"{path} is a folder; a SQLite store is a file, such as {_SQLITE}mlflow.db"
    elif _TORN_HTTP.match(uri):
        wrong = "an address of a server begins with http:// or https://"
    if wrong:
        raise TrackingError(f"MLFLOW_TRACKING_URI names no store: {wrong}")


def make_client(uri: str) -> MlflowClient:
    """A client of the store, independent of the caller's fluent API settings."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def translated(error: Exception, uri: str, doing: str = "open a run") -> TrackingError:
    """The error as a ``TrackingError`` that says what to do; ``doing`` names what was attempted."""
    text = str(error)
    if "MLFLOW_ALLOW_FILE_STORE" in text or "maintenance mode" in text:
        found = (
            "found runs of an older release in ./mlruns" if uri.endswith("mlruns") else "was given a folder of files"
        )
        return TrackingError(
            f"MLflow {found} and no longer writes to such a folder. Either move its runs "
            "into a database with `mlflow migrate-filestore`, or start a new store beside them with "
            "MLFLOW_TRACKING_URI=sqlite:///mlflow.db"
        )
    is_unknown = type(error).__name__ == "UnsupportedModelRegistryStoreURIException"
    if "sqlalchemy" in text.lower() or (is_unknown and importlib.util.find_spec("sqlalchemy") is None):
        return TrackingError(
            f"the store {without_credentials(uri)} needs the database part of MLflow, which mlflow-skinny leaves out: "
            "`pip install mlflow`, or point MLFLOW_TRACKING_URI at a server (http://...)"
        )
    advice = ", or use greenlove.estimate, which needs no MLflow" if doing == "open a run" else ""
    return TrackingError(
        f"MLflow could not {doing} in {without_credentials(uri)}: {first_line(error)}. "
        f"Check MLFLOW_TRACKING_URI{advice}"
    )

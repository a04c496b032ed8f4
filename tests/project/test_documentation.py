"""The documentation's promises: it names everything that is public, and what it quotes and links to is there."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

import greenlove_mlflow
from greenlove_mlflow import environment, errors
from greenlove_mlflow.cli import main
from greenlove_mlflow.core.caveats import CAVEATS
from greenlove_mlflow.pipeline.options import Options
from greenlove_mlflow.tracking import names
from tests.support.browser import a_browser, visiting
from tests.support.documents import DOCUMENTS, GUIDE, PAGES, ROOT, blocks_of, excerpts_of, links_of, named

REFERENCE = ROOT / "docs" / "reference"
SITE_PAGES = (
    "index.html",
    "reference/api/index.html",
    "explanation/statistics/index.html",
    "reports/accuracy/index.html",
)
EXCERPTS = [(page, excerpt) for page in PAGES for excerpt in excerpts_of(page)]


def read(name: str) -> str:
    return (REFERENCE / name).read_text("utf-8")


@pytest.fixture(scope="module")
def fill() -> Iterator[Callable[[str], str]]:
    """What puts the generated parts into a page."""
    before = list(sys.path)
    sys.path.insert(0, str(ROOT / "docs"))
    yield importlib.import_module("hooks").fill
    sys.path[:] = before


def test_every_public_name_is_in_the_reference() -> None:
    entries = {entry.rsplit(".", 1)[-1] for entry in re.findall(r"^::: (\S+)$", read("api.md"), re.MULTILINE)}
    # The entry of the module has each of its errors.
    entries |= {name for name in vars(errors) if "::: greenlove_mlflow.errors\n" in read("api.md")}
    assert [name for name in greenlove_mlflow.__all__ if name not in {*entries, "__version__"}] == []


def test_every_option_of_track_is_in_the_reference_under_what_it_is_about() -> None:
    overview = read("options.md")
    words = {field.name for field in dataclasses.fields(Options)}
    words |= set(inspect.signature(greenlove_mlflow.track).parameters) - {"model", "optimizer", "criterion", "options"}
    assert [name for name in sorted(words - {"data"}) if f"`{name}" not in overview] == []


def test_the_reference_of_options_says_what_each_means(fill: Callable[[str], str]) -> None:
    text = fill(read("options.md"))
    assert [each.name for each in dataclasses.fields(Options) if f"\n| `{each.name}` |" not in text] == []


def test_every_command_is_in_the_reference_and_says_what_it_does(fill: Callable[[str], str]) -> None:
    overview, text = read("commands.md"), fill(read("commands.md"))
    for name in main.list_commands(None):  # type: ignore[arg-type]
        assert f"`greenlove {name}" in overview
        assert f"\n## greenlove {name}" in text


def test_every_caveat_is_in_the_reference(fill: Callable[[str], str]) -> None:
    text = fill(read("caveats.md"))
    assert [code for code in CAVEATS if f'id="{code}"' not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_caveat_that_a_page_names_is_registered(page: Path) -> None:
    named_here = re.findall(r"caveats? \[?`([a-z][a-z-]+)`", page.read_text("utf-8"))
    assert [code for code in named_here if code not in CAVEATS] == []


def test_every_mlflow_name_is_in_the_reference() -> None:
    text = read("mlflow-names.md")
    ours = ("green/", "green.", "greenlove.", "greenlove/")
    values = {value for key, value in vars(names).items() if key.isupper() and isinstance(value, str)}
    assert [value for value in sorted(values) if value.startswith(ours) and value not in text] == []


def test_every_room_of_the_package_is_in_the_architecture() -> None:
    text = (ROOT / "docs" / "explanation" / "architecture.md").read_text("utf-8")
    rooms = [path.stem for path in (ROOT / "greenlove_mlflow").iterdir() if path.is_dir() or path.suffix == ".py"]
    assert [name for name in sorted(rooms) if not name.startswith("_") and f"`{name}`" not in text] == []


def test_every_environment_variable_is_in_the_reference() -> None:
    source = Path(environment.__file__).read_text("utf-8")
    variables = {value for key, value in vars(environment).items() if key.endswith("_VARIABLE")}
    variables |= set(re.findall(r'environ(?:\.get)?[\[(]"(\w+)"', source))
    assert [name for name in sorted(variables) if f"`{name}`" not in read("environment.md")] == []


@pytest.mark.parametrize(
    ("page", "excerpt"), EXCERPTS, ids=lambda each: named(each) if isinstance(each, Path) else each[0]
)
def test_what_a_page_quotes_is_what_was_measured(page: Path, excerpt: tuple[str, str]) -> None:
    source, quoted = excerpt
    there = (ROOT / source).read_text("utf-8").splitlines()
    lines = [line for line in quoted.splitlines() if line.strip() not in ("", "...")]
    assert lines
    assert [line for line in lines if line not in there] == []


@pytest.mark.parametrize("page", DOCUMENTS, ids=named)
def test_every_file_that_a_page_links_to_is_there(page: Path) -> None:
    assert [named(path) for path in links_of(page) if not path.exists()] == []


def test_every_page_is_in_the_navigation() -> None:
    settings = (ROOT / "mkdocs.yml").read_text("utf-8")
    listed = re.findall(r": ([\w/-]+\.md)$", settings, re.MULTILINE)
    assert sorted(listed) == sorted(path.relative_to(ROOT / "docs").as_posix() for path in GUIDE)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_block_that_is_not_run_says_why(page: Path) -> None:
    assert all(block.reason_not_run for block in blocks_of(page) if block.comment.startswith("not run"))


def test_the_changelog_keeps_a_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    headings = re.findall(r"^##+ (.+)$", text, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert [
        each for each in headings if each not in kinds and not re.match(r"\[\d+\.\d+\.\d+\]|\[Unreleased\]", each)
    ] == []


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == greenlove_mlflow.__version__
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type", "license"} <= set(citation)


def test_workflows_call_sessions_that_exist() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "nox", "-l"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    sessions = set(re.findall(r"^[*-] (\S+)", listed, re.MULTILINE))
    called = set()
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        jobs = yaml.safe_load(path.read_text("utf-8"))["jobs"]
        for job in jobs.values():
            pythons = job.get("strategy", {}).get("matrix", {}).get("python", [""])
            for step in job["steps"]:
                for name in re.findall(r"nox -s (\S+(?: }})?)", step.get("run", "")):
                    called |= {re.sub(r"\$\{\{.*", python, name) for python in pythons}
    assert called
    assert called <= sessions


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation as it is published."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(site: Path) -> None:
    for page in SITE_PAGES:
        assert (site / page).exists(), page
    assert "<math" in (site / "explanation/statistics/index.html").read_text("utf-8")
    assert "<!-- generated" not in "".join(path.read_text("utf-8") for path in site.rglob("*.html"))


@pytest.mark.slow
def test_no_page_names_anything_outside_that_a_browser_would_fetch(site: Path) -> None:
    fetched = re.compile(
        r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^\"'>]+"
        r"|<link\b[^>]*\brel=[\"']?(?:stylesheet|preconnect|preload|icon)[^>]*href=[\"']?(?:https?:)?//[^\"'>]+"
        r"|url\([\"']?(?:https?:)?//[^)]+"
    )
    found = {
        f"{path.relative_to(site)}: {match}"
        for kind in ("*.html", "*.css")
        for path in site.rglob(kind)
        if "reports/samples" not in path.as_posix()
        for match in fetched.findall(path.read_text("utf-8"))
    }
    assert found == set()


@pytest.mark.slow
@pytest.mark.browser
def test_a_browser_fetches_nothing_from_outside_and_meets_no_error(site: Path) -> None:
    with a_browser() as browser:
        for page in SITE_PAGES:
            with visiting(browser, site / page) as visit:
                visit.page.wait_for_load_state("networkidle")
                assert [url for url in visit.requests if not url.startswith(("file:", "data:"))] == [], page
                # A browser lets no script of a file read another file: the search of a page opened so is silent.
                assert [each for each in visit.complaints if "file:" not in each and "CORS" not in each] == [], page

from __future__ import annotations

import pytest

from greenlove_mlflow.untrusted import printable, scrubbed, spreadsheet_cell


@pytest.mark.parametrize(
    "text",
    [
        "\x1b]0;title\x07",
        "\x1b[2J",
        "\x9b31m",
        "a\rb",
        "a\nb",
        "a\u202eb",
        "a\u2066b",
        "\x00",
        "\x7f",
        "a\u2028b",
        "\ud800",
    ],
)
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    shown = printable(text)
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 or char in "\u202e\u2066\u2028\ud800" for char in shown)
    shown.encode("utf-8")


def test_words_of_any_language_stay() -> None:
    for text in ("Überlauf", "网络", "café 👩‍🚀", "naïve \u2013 “quoted”", "مرحبا"):
        assert printable(text) == text


def test_line_ends_stay_where_they_are_wanted() -> None:
    assert printable("a\n\tb\x1b", lines=True) == "a\n\tb\ufffd"


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", " =1", "\r=1", "\uff1d1+1"])
def test_a_formula_is_shown_not_calculated(text: str) -> None:
    assert spreadsheet_cell(text).startswith("'")


@pytest.mark.parametrize("text", ["-1.5", "+3", "1e-5", "A100", "", "a=b", "2026-01-01"])
def test_figures_and_names_are_left_as_they_are(text: str) -> None:
    assert spreadsheet_cell(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "API request to http://user:SECRETPW@127.0.0.1:5000/api/2.0 failed",
        "postgresql+psycopg2://me:SECRETPW@db:5432/mlflow",
        "mysql://me:SECRETPW@db/x?ssl=1",
        "https://SECRETPW@host/",
        "http://host/x?token=SECRETPW&page=1",
        "http://host/x?page=1&api_key=SECRETPW",
        "http://host/x?X-Amz-Signature=SECRETPW",
        "url: /x%3Ftoken%3DSECRETPW",
        "{'Authorization': 'Bearer SECRETPW'}",
        "Authorization: Basic SECRETPW",
        "headers={'authorization': 'Basic SECRETPW=='}",
        "password=SECRETPW",
        '{"password": "SECRETPW"}',
        "MLFLOW_TRACKING_PASSWORD=SECRETPW",
        "dsn host=db user=x password=SECRETPW dbname=y",
        "http://user:a@SECRETPW@host/",
    ],
)
def test_no_password_is_left_in_a_message(text: str) -> None:
    assert "SECRETPW" not in scrubbed(text)


def test_a_value_known_to_be_secret_is_hidden_wherever_it_stands() -> None:
    assert "hunter22" not in scrubbed("login of hunter22 failed: (hunter22)", ["hunter22"])


def test_what_a_message_needs_stays() -> None:
    text = "no answer from http://host:5000/api/2.0/mlflow/runs/create?page=2 (SQLAlchemy, sqlite:////tmp/a.db, a@b.c)"
    assert scrubbed(text) == text

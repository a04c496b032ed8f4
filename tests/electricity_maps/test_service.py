from __future__ import annotations

import functools
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from greenlove_mlflow import electricity_maps
from greenlove_mlflow.core.energy.train_later import IntensityReading, best_start
from greenlove_mlflow.core.interval import Interval
from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.core.workload import Grid
from greenlove_mlflow.electricity_maps import (
    ElectricityMaps,
    ServiceError,
    best_start_in,
    later_start_caveats,
    live_grid,
    locate_by_address,
)
from greenlove_mlflow.errors import ElectricityMapsError, InvalidInputError
from tests.support.factories import a_grid

KEY = "secret-token-0123456789"
NOON = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)


def an_answer(**over: Any) -> dict[str, Any]:
    now = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
    return {
        "zone": "DE",
        "carbonIntensity": 321,
        "datetime": now.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "emissionFactorType": "lifecycle",
        "isEstimated": False,
        **over,
    }


@dataclass
class FakeServer:
    """What the fake answers, and what it was asked."""

    base_url: str = ""
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: Event | None = None
    asked: list[tuple[str, dict[str, list[str]], str | None]] = field(default_factory=list)

    def answers(self, content: object, status: int = 200, **headers: str) -> None:
        self.body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.status = status
        self.headers = {name.replace("_", "-"): text for name, text in headers.items()}


@contextmanager
def a_server() -> Iterator[FakeServer]:
    fake = FakeServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            fake.asked.append((address.path, parse_qs(address.query), self.headers.get("auth-token")))
            if fake.delay is not None:
                fake.delay.wait(10.0)
            known = self.headers.get("auth-token") in (None, KEY)
            self.send_response(fake.status if known else 401)
            for name, text in fake.headers.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(fake.body if known else b'{"error": "Invalid auth-token ' + KEY.encode() + b'"}')

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    fake.base_url = f"http://127.0.0.1:{server.server_port}/v3"
    try:
        yield fake
    finally:
        if fake.delay is not None:
            fake.delay.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with a_server() as fake:
        yield fake


def a_door(server: FakeServer, key: str = KEY, **over: Any) -> ElectricityMaps:
    return ElectricityMaps(key=key, base_url=server.base_url, **over)


def problem(server: FakeServer, **over: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        a_door(server, **over).fetch_latest("DE")
    return caught.value


def test_a_good_answer_replaces_the_tables_figure(server: FakeServer) -> None:
    server.answers(an_answer())
    grid, caveats = live_grid(a_grid(), KEY, base_url=server.base_url)
    assert caveats == ()
    assert grid.intensity_g_per_kwh is not None
    assert grid.intensity_g_per_kwh.point == 321.0
    assert grid.intensity_g_per_kwh.log_half_width == pytest.approx(0.196, abs=1e-3)
    assert grid.basis == "live"
    assert grid.intensity_source is not None
    assert grid.intensity_source.producer == "Electricity Maps"
    assert grid.price_usd_per_kwh == a_grid().price_usd_per_kwh


def test_the_question_names_zone_and_scope_and_carries_the_key(server: FakeServer) -> None:
    server.answers(an_answer(emissionFactorType="direct"))
    live_grid(a_grid(scope="direct"), KEY, base_url=server.base_url)
    path, params, token = server.asked[0]
    assert path == "/v3/carbon-intensity/latest"
    assert params == {"zone": ["DE"], "emissionFactorType": ["direct"]}
    assert token == KEY


def test_either_version_of_the_interface_can_be_asked(server: FakeServer) -> None:
    server.answers(an_answer())
    base_url = server.base_url.replace("/v3", "/v4")
    grid, _ = live_grid(a_grid(), KEY, base_url=base_url)
    assert server.asked[0][0] == "/v4/carbon-intensity/latest"
    assert grid.basis == "live"


def test_a_zone_of_the_callers_is_asked_for_instead_of_the_place(server: FakeServer) -> None:
    server.answers(an_answer(zone="US-TEX-ERCO"))
    live_grid(a_grid(code="US-TX"), KEY, zone="US-TEX-ERCO", base_url=server.base_url)
    assert server.asked[0][1]["zone"] == ["US-TEX-ERCO"]


def test_zero_is_an_answer(server: FakeServer) -> None:
    server.answers(an_answer(carbonIntensity=0))
    grid, _ = live_grid(a_grid(), KEY, base_url=server.base_url)
    assert grid.intensity_g_per_kwh == Interval.exactly(0.0)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, "unknown-zone"),
        (401, "bad-key"),
        (403, "not-allowed"),
        (404, "unknown-zone"),
        (429, "too-many-requests"),
        (500, "server-error"),
        (302, "server-error"),
    ],
)
def test_refusals_are_told_apart_and_the_table_stays(server: FakeServer, status: int, reason: str) -> None:
    server.answers({"error": "x"}, status=status, Location="http://127.0.0.1:9/elsewhere")
    assert problem(server).reason == reason
    grid, caveats = live_grid(a_grid(), KEY, base_url=server.base_url)
    assert grid == a_grid()
    assert [caveat.code for caveat in caveats] == ["live-carbon-unavailable"]
    assert "table" in caveats[0].message


def test_a_key_that_the_service_does_not_know_is_a_bad_key(server: FakeServer) -> None:
    server.answers(an_answer())
    assert problem(server, key="another").reason == "bad-key"


@pytest.mark.parametrize(("header", "wait_s"), [("17", 17.0), ("soon", None), (None, None)])
def test_how_long_to_wait_is_said(server: FakeServer, header: str | None, wait_s: float | None) -> None:
    server.answers({}, status=429, **({"Retry_After": header} if header else {}))
    error = problem(server)
    assert error.retry_after_s == wait_s
    assert ("17 s" in str(error)) == (wait_s is not None)


def test_a_date_to_wait_for_is_understood(server: FakeServer) -> None:
    later = datetime.now(timezone.utc) + timedelta(seconds=120)
    server.answers({}, status=429, Retry_After=later.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    wait_s = problem(server).retry_after_s
    assert wait_s is not None
    assert 60.0 < wait_s < 121.0


def test_a_server_that_hangs_is_left(server: FakeServer) -> None:
    server.delay = Event()
    server.answers(an_answer())
    assert problem(server, timeout_s=0.2).reason == "timeout"


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(ServiceError) as caught:
        ElectricityMaps(key=KEY, base_url="http://127.0.0.1:9/v3", timeout_s=0.5).fetch_latest("DE")
    assert caught.value.reason in ("unreachable", "timeout")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>busy</html>",
        b"\xff\xfe",
        [],
        "text",
        {},
        an_answer(carbonIntensity=None),
        an_answer(carbonIntensity="321"),
        an_answer(carbonIntensity=True),
        an_answer(carbonIntensity=-1),
        an_answer(carbonIntensity=2000.5),
        b'{"zone": "DE", "carbonIntensity": NaN, "datetime": "2026-11-24T12:00:00Z"}',
        an_answer(zone="FR"),
        an_answer(emissionFactorType="direct"),
        an_answer(datetime=None),
        an_answer(datetime="yesterday"),
        an_answer(datetime="2026-11-24T12:00:00"),
        b" " * 1_100_000,
    ],
    ids=lambda content: repr(content)[:40],
)
def test_garbage_is_refused(server: FakeServer, content: object) -> None:
    server.answers(content)
    assert problem(server).reason == "garbage"


def test_an_estimated_or_old_reading_says_so(server: FakeServer) -> None:
    server.answers(an_answer(isEstimated=True, datetime="2026-01-01T00:00:00Z"))
    _, caveats = live_grid(a_grid(), KEY, base_url=server.base_url)
    assert {caveat.code for caveat in caveats} == {"live-carbon-estimated", "live-carbon-old"}


def test_an_answer_is_asked_for_once(server: FakeServer) -> None:
    server.answers(an_answer())
    door = a_door(server)
    for _ in range(3):
        door.fetch_latest("DE", "lifecycle")
    assert len(server.asked) == 1


def test_a_given_intensity_is_kept_and_nobody_is_asked(server: FakeServer) -> None:
    given_grid = a_grid(intensity_source=Source(producer="the caller", title="carbon_intensity_g_per_kwh"))
    assert live_grid(given_grid, KEY, base_url=server.base_url) == (given_grid, ())
    assert server.asked == []


@pytest.mark.parametrize(
    ("grid", "key", "why"), [(a_grid(), None, "there is no key"), (a_grid(code="WORLD"), KEY, "no place is known")]
)
def test_without_key_or_place_nobody_is_asked(server: FakeServer, grid: Grid, key: str | None, why: str) -> None:
    same, caveats = live_grid(grid, key, base_url=server.base_url)
    assert same == grid
    assert [caveat.code for caveat in caveats] == ["live-carbon-unavailable"]
    assert why in caveats[0].message
    assert server.asked == []


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "schlüssel"])
def test_what_cannot_be_a_key_is_refused_unseen(key: str) -> None:
    with pytest.raises(ServiceError) as caught:
        ElectricityMaps(key=key)
    assert caught.value.reason == "bad-key"
    assert not key or key not in str(caught.value)


def test_the_key_is_in_no_text(server: FakeServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    texts = [repr(a_door(server)), str(a_door(server))]
    for status in (200, 401, 403, 429, 500):
        server.answers({"error": f"Invalid auth-token {KEY}", "carbonIntensity": KEY}, status=status)
        error: BaseException | None = problem(server)
        while error is not None:
            texts += [str(error), repr(error), repr(vars(error))]
            error = error.__cause__
        grid, caveats = live_grid(a_grid(), KEY, base_url=server.base_url)
        texts += [repr(grid), repr(caveats)]
    assert KEY not in "".join(texts) + caplog.text
    assert isinstance(problem(server), ElectricityMapsError)


def test_only_https_is_asked_beyond_this_machine() -> None:
    with pytest.raises(ServiceError, match="https only"):
        ElectricityMaps(key=KEY, base_url="http://api.electricitymaps.com/v3").fetch_latest("DE")
    country, caveat = locate_by_address(url="http://get.geojs.io/v1/ip/country.json")
    assert country is None
    assert caveat is not None
    assert "https" in caveat.message


def test_history_is_in_order_and_leaves_hours_without_a_figure_out(server: FakeServer) -> None:
    hours = [(2, 300), (0, 100), (1, None)]
    rows = [an_answer(carbonIntensity=value, datetime=f"2026-11-24T{hour:02}:00:00Z") for hour, value in hours]
    server.answers({"zone": "DE", "history": rows})
    assert [reading.intensity_g_per_kwh for reading in a_door(server).fetch_history("DE")] == [100.0, 300.0]


def test_a_forecast_gives_the_best_start(server: FakeServer) -> None:
    server.answers(a_forecast_answer(400, 400, 100, 100, 400))
    best = best_start_in("DE", 2.0, KEY, base_url=server.base_url)
    assert best is not None
    assert (best.wait_h, best.intensity_g_per_kwh, best.saved_share) == (2.0, 100.0, 0.75)
    # 24 hours to start in and 2 to train are asked for with the next horizon there is.
    assert server.asked[0][1]["horizonHours"] == ["48"]


def a_live_grid(server: FakeServer) -> Grid:
    server.answers(an_answer())
    return live_grid(a_grid(), KEY, base_url=server.base_url)[0]


def a_forecast_answer(*intensities: float) -> dict[str, object]:
    rows = [
        {"carbonIntensity": value, "datetime": f"2026-11-24T{hour:02}:00:00.000Z"}
        for hour, value in enumerate(intensities)
    ]
    return {"zone": "DE", "forecast": rows}


def test_a_later_start_that_saves_is_told(server: FakeServer) -> None:
    grid = a_live_grid(server)
    server.answers(a_forecast_answer(400, 400, 100, 100, 400))
    (caveat,) = later_start_caveats(grid, 2.0, KEY, base_url=server.base_url)
    assert caveat.code == "train-later"
    assert "starting in 2 h (2026-11-24 02:00 UTC) would emit 75% less CO2e" in caveat.message


@pytest.mark.parametrize(
    ("intensities", "hours"),
    [((400, 400, 396, 396, 400), 2.0), ((400, 400, 100, 100, 400), 49.0), ((400, 100), 3.0)],
    ids=["saves too little", "longer than any forecast", "longer than this forecast"],
)
def test_a_later_start_that_helps_nobody_is_not_told(
    intensities: tuple[float, ...], hours: float, server: FakeServer
) -> None:
    grid = a_live_grid(server)
    server.answers(a_forecast_answer(*intensities))
    assert later_start_caveats(grid, hours, KEY, base_url=server.base_url) == ()


def test_no_forecast_is_asked_for_a_grid_of_the_table(server: FakeServer) -> None:
    server.answers(a_forecast_answer(400, 400, 100, 100, 400))
    assert later_start_caveats(a_grid(), 2.0, KEY, base_url=server.base_url) == ()
    assert server.asked == []


def test_an_estimate_with_live_carbon_has_the_live_grid_and_the_later_start(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import greenlove_mlflow as greenlove

    monkeypatch.setenv("ELECTRICITY_MAPS_API_KEY", KEY)
    for door in (live_grid, later_start_caveats):
        monkeypatch.setattr(electricity_maps, door.__name__, functools.partial(door, base_url=server.base_url))
    server.answers({**an_answer(), **a_forecast_answer(400, 400, 100, 100, 400)})
    model = torch.nn.Linear(4, 2)
    data = TensorDataset(torch.randn(64, 4), torch.randint(0, 2, (64,)))
    parts = (model, torch.optim.SGD(model.parameters(), lr=0.1), torch.nn.CrossEntropyLoss(), data)
    estimate = greenlove.estimate(*parts, epochs=3, batch_size=8, country="DE", live_carbon=True, budget_s=0.3)
    assert estimate.grid.basis == "live"
    assert "train-later" in {caveat.code for caveat in estimate.caveats}
    assert estimate.statistics is not None
    assert "train-later" in {caveat.code for caveat in estimate.statistics.caveats}


@pytest.mark.parametrize("content", [{}, {"forecast": None}, {"forecast": [None]}, {"forecast": [{}, 3]}])
def test_a_forecast_of_garbage_is_refused(server: FakeServer, content: object) -> None:
    server.answers(content)
    with pytest.raises(ServiceError) as caught:
        a_door(server).fetch_forecast("DE")
    assert caught.value.reason == "garbage"


def test_the_address_gives_a_country_and_says_so(server: FakeServer) -> None:
    server.answers({"country": "de", "ip": "203.0.113.9"})
    country, caveat = locate_by_address(url=f"{server.base_url}/country.json")
    assert country == "DE"
    assert caveat is not None
    assert "203.0.113.9" not in caveat.message


@pytest.mark.parametrize("content", [{}, {"country": None}, {"country": "Germany"}, [], b"<html>"])
def test_an_address_without_a_country_is_no_place(server: FakeServer, content: object) -> None:
    server.answers(content)
    country, caveat = locate_by_address(url=f"{server.base_url}/country.json")
    assert country is None
    assert caveat is not None


def a_forecast(values: list[float], step_h: float = 1.0) -> list[IntensityReading]:
    return [
        IntensityReading(zone="DE", at=NOON + timedelta(hours=step_h * index), intensity_g_per_kwh=value)
        for index, value in enumerate(values)
    ]


def test_a_steady_grid_is_started_on_at_once() -> None:
    best = best_start(a_forecast([200.0] * 30), 3.0)
    assert best is not None
    assert (best.wait_h, best.saved_share) == (0.0, 0.0)


def test_a_start_lies_within_the_window() -> None:
    best = best_start(a_forecast([500.0] * 40 + [0.0] * 20), 2.0)
    assert best is not None
    assert best.wait_h <= 24.0


def test_a_forecast_shorter_than_the_training_says_nothing() -> None:
    assert best_start(a_forecast([100.0] * 5), 6.0) is None
    assert best_start(a_forecast([100.0]), 0.5) is None
    assert best_start([], 0.5) is None


def test_no_hours_are_refused() -> None:
    with pytest.raises(InvalidInputError):
        best_start(a_forecast([1.0, 2.0]), 0.0)


def test_a_reading_needs_a_time_zone_and_no_negative_figure() -> None:
    with pytest.raises(InvalidInputError):
        IntensityReading(zone="DE", at=datetime(2026, 1, 1), intensity_g_per_kwh=1.0)  # noqa: DTZ001 - refused
    with pytest.raises(InvalidInputError):
        IntensityReading(zone="DE", at=NOON, intensity_g_per_kwh=-1.0)


@settings(deadline=None)
@given(
    values=st.lists(st.floats(min_value=0.0, max_value=1500.0), min_size=2, max_size=60),
    hours=st.floats(min_value=0.05, max_value=30.0),
    starts=st.lists(st.floats(min_value=0.0, max_value=24.0), max_size=5),
)
def test_no_other_start_emits_less(values: list[float], hours: float, starts: list[float]) -> None:
    best = best_start(a_forecast(values), hours)
    if best is None:
        assert hours > len(values)
        return
    assert 0.0 <= best.wait_h <= 24.0
    assert best.intensity_g_per_kwh <= best.now_g_per_kwh
    for start in (start for start in starts if start + hours <= len(values)):
        covered = [max(0.0, min(start + hours, hour + 1) - max(start, hour)) for hour in range(len(values))]
        mean = sum(share * value for share, value in zip(covered, values, strict=True)) / hours
        assert best.intensity_g_per_kwh <= mean * (1 + 1e-9) + 1e-9


def test_a_slow_drip_is_cut_off_at_the_deadline(monkeypatch: pytest.MonkeyPatch, server: FakeServer) -> None:
    server.answers(b" " * 200_000)
    ticks = iter(range(1000))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))
    assert problem(server, timeout_s=2.0).reason == "timeout"

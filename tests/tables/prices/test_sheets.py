from __future__ import annotations

from pathlib import Path

import pytest

from greenlove_mlflow.core.offers.offer import Offer, PriceSheet
from greenlove_mlflow.core.provenance import Source
from greenlove_mlflow.errors import TableError
from greenlove_mlflow.tables import gpu_id_of_name, read_own_prices, read_price_sheet, table_versions
from greenlove_mlflow.tables.prices.difference import compare_sheets
from greenlove_mlflow.tables.prices.sheets import add_price_sheet, own_folder, own_versions

OWN = "gpu,price_usd_per_hour\nH100 HGX 80GB,3\nNVIDIA A100-SXM4-80GB,2\n"


def a_csv(folder: Path, text: str = OWN, name: str = "prices.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def an_offer(gpu: str = "X", price: float | None = 1.0, billing: str = "on-demand", **over: object) -> Offer:
    fields = {"provider": "P", "gpu": gpu, "gpu_id": gpu, "memory_gib": 80.0, "billing": billing}
    return Offer(price_usd_per_hour=price, **{**fields, **over})


def a_sheet(*offers: Offer) -> PriceSheet:
    return PriceSheet(version="v", as_of="2026-01-01", offers=offers, source=Source(producer="P", title="T"))


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data-home"))
    return own_folder()


def test_the_newest_sheet_has_six_prices_and_four_on_request() -> None:
    sheet = read_price_sheet()
    prices = {offer.gpu: offer.price_usd_per_hour for offer in sheet.offers}
    assert prices["A100 SXM 80GB"] == 2.3
    assert sum(price is None for price in prices.values()) == 4
    assert {offer.billing for offer in sheet.offers if offer.price_usd_per_hour is None} == {"contact-sales"}
    assert sheet.as_of == "2026-10-05"


def test_spot_and_reserved_are_offers_of_their_own() -> None:
    billings = {offer.billing for offer in read_price_sheet("2025-05-21").offers}
    assert billings == {"on-demand", "spot", "reserved-6m", "reserved-1y", "reserved-3y"}


def test_an_offer_keeps_size_regions_and_source() -> None:
    offer = next(offer for offer in read_price_sheet().offers if offer.gpu == "H100 HGX 80GB")
    assert offer.gpu_counts == (8,)
    assert offer.regions == ("us-east1-a", "us-southcentral1-a", "eu-iceland1-a")
    assert (offer.evidence, offer.version) == ("secondary", "2026-10-05")
    assert "crusoe.ai" in offer.source


def test_other_clouds_come_by_name() -> None:
    sheet = read_price_sheet("cloud_prices")
    assert {"AWS", "Lambda", "RunPod"} <= {offer.provider for offer in sheet.offers}
    assert {offer.as_of for offer in sheet.offers} >= {"2025-12-31", "2026-07-16", "2026-10-05"}


def test_a_sheet_is_returned_as_it_is() -> None:
    sheet = a_sheet(an_offer())
    assert read_price_sheet(sheet) is sheet


def test_an_unknown_version_is_refused_with_the_known() -> None:
    with pytest.raises(TableError, match="2026-09-28"):
        read_price_sheet("2026-01-01")


def test_own_prices_need_two_columns_and_a_date(tmp_path: Path) -> None:
    path = a_csv(tmp_path)
    with pytest.raises(TableError, match="does not date its prices"):
        read_price_sheet(path)
    sheet = read_price_sheet(str(path), version="deal-1", as_of="2026-10-01", source="our contract")
    assert (sheet.version, sheet.as_of, sheet.source.title) == ("deal-1", "2026-10-01", "our contract")
    assert [offer.gpu_id for offer in sheet.offers] == ["nvidia-h100-sxm5-80gb", "nvidia-a100-sxm4-80gb"]
    assert sheet.offers[1].memory_gib == 80.0
    assert sheet.offers[0].price_usd_per_hour == 3.0


def test_own_prices_are_dated_by_their_rows(tmp_path: Path) -> None:
    text = "gpu,price_usd_per_hour,version,as_of,source\nL4,1,2026.01,2026-01-05,the page\n"
    sheet = read_price_sheet(a_csv(tmp_path, text))
    assert (sheet.version, sheet.as_of, sheet.source.title) == ("2026.01", "2026-01-05", "the page")


def test_own_prices_are_dated_by_a_toml_beside_them(tmp_path: Path) -> None:
    path = a_csv(tmp_path)
    toml = 'version = "q4"\nas_of = "2026-10-01"\n[source]\nproducer = "ACME"\ntitle = "offer of October"\n'
    path.with_suffix(".toml").write_text(toml)
    sheet = read_price_sheet(path)
    assert (sheet.version, sheet.as_of, sheet.source.producer) == ("q4", "2026-10-01", "ACME")
    assert {offer.provider for offer in sheet.offers} == {"ACME"}
    assert read_price_sheet(path, version="q5").version == "q5"


def test_a_digest_in_a_toml_of_ones_own_is_checked(tmp_path: Path) -> None:
    path = a_csv(tmp_path)
    path.with_suffix(".toml").write_text('as_of = "2026-10-01"\nsha256 = "00"\n')
    with pytest.raises(TableError, match="sha256"):
        read_price_sheet(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gpu,price\nL4,1\n", ["'price_usd_per_hour'"]),
        ("gpu,price_usd_per_hour,colour\nL4,1,red\n", ["'colour'"]),
        ("gpu,price_usd_per_hour\nL4,1\nL40S,cheap\n", ["row 3", "'price_usd_per_hour'", "'cheap'"]),
        ("gpu,price_usd_per_hour\nL4,-1\n", ["row 2", "'price_usd_per_hour'", "below"]),
        ("gpu,price_usd_per_hour\nL4,900\n", ["row 2", "'price_usd_per_hour'", "above 50"]),
        ("gpu,price_usd_per_hour\nL4,1\nL4,2\n", ["row 3", "'gpu'", "twice"]),
        ("gpu,gpu_id,price_usd_per_hour\nL4,nvidia-l44,1\n", ["row 2", "'gpu_id'", "nvidia-l44"]),
        ("gpu;price_usd_per_hour\nL4;1,234\n", ["price_usd_per_hour", "1.234 or 1234"]),
        ("gpu,price_usd_per_hour\nA100-80GB,3.67\n", ["row 2", "A100 SXM 80GB", "A100 PCIe 80GB"]),
        ("gpu,price_usd_per_hour\nTPU v5e,1\n", ["row 2", "'gpu'", "TPU v5e"]),
    ],
)
def test_own_prices_are_refused_by_row_and_column(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(TableError) as caught:
        read_price_sheet(a_csv(tmp_path, text), as_of="2026-10-01")
    for word in words:
        assert word in str(caught.value)


def test_a_date_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="October"):
        read_price_sheet(a_csv(tmp_path), as_of="October")


def test_one_gpu_from_two_clouds_is_two_offers(tmp_path: Path) -> None:
    text = "provider,gpu,price_usd_per_hour\nA,L4,1\nB,L4,2\n"
    sheet = read_price_sheet(a_csv(tmp_path, text), as_of="2026-10-01")
    assert [(offer.provider, offer.price_usd_per_hour) for offer in sheet.offers] == [("A", 1.0), ("B", 2.0)]


def test_a_sheet_without_a_price_is_on_request(tmp_path: Path) -> None:
    sheet = read_price_sheet(a_csv(tmp_path, "gpu,price_usd_per_hour\nB200 HGX 180GB,\n"), as_of="2026-10-01")
    assert (sheet.offers[0].billing, sheet.offers[0].price_usd_per_hour) == ("contact-sales", None)


@pytest.mark.parametrize("version", table_versions("crusoe_prices"))
def test_a_published_sheet_is_accepted_as_ones_own(tmp_path: Path, version: str) -> None:
    from greenlove_mlflow.tables import read_table

    path = a_csv(tmp_path, read_table("crusoe_prices", version).path.read_text(encoding="utf-8"))
    assert read_price_sheet(path).offers == read_price_sheet(version).offers


@pytest.mark.parametrize(
    ("name", "memory_gib", "gpu_id"),
    [
        ("H100 HGX 80GB", None, "nvidia-h100-sxm5-80gb"),
        ("nvidia h100 80gb hbm3", None, "nvidia-h100-sxm5-80gb"),
        ("nvidia-l4", None, "nvidia-l4"),
        ("A100 SXM 80GB", None, "nvidia-a100-sxm4-80gb"),
        ("RTX A4000", None, "nvidia-rtx-a4000"),
        ("A4", None, None),
        # One cloud's V100 is the SXM2 of 16 GB; a name on another sheet may mean any of five.
        ("V100", None, None),
        ("A6000", None, "nvidia-rtx-a6000"),
        ("H1", None, None),
        ("", None, None),
    ],
)
def test_a_name_is_known_whole_or_not_at_all(name: str, memory_gib: float | None, gpu_id: str | None) -> None:
    assert gpu_id_of_name(name, memory_gib) == gpu_id


def test_memory_settles_a_name_that_fits_two() -> None:
    name = "NVIDIA GeForce RTX 3060"
    assert gpu_id_of_name(name) is None
    assert gpu_id_of_name(name, 12.0) != gpu_id_of_name(name, 8.0)


def test_an_added_sheet_is_found_by_its_version(tmp_path: Path, own_data: Path) -> None:
    table = add_price_sheet(a_csv(tmp_path), version="deal-1", as_of="2026-10-01", source="contract")
    assert table.path == own_data / "deal-1.csv"
    assert own_versions() == ("deal-1",)
    sheet = read_price_sheet("deal-1")
    assert (sheet.version, sheet.as_of, sheet.source.title) == ("deal-1", "2026-10-01", "contract")
    assert sorted(path.name for path in own_data.iterdir()) == ["deal-1.csv", "deal-1.toml"]


def test_an_added_sheet_is_never_overwritten(tmp_path: Path) -> None:
    for _ in range(2):
        add_price_sheet(a_csv(tmp_path), version="deal-1", as_of="2026-10-01")
    other = a_csv(tmp_path, OWN.replace(",3", ",4"), "other.csv")
    with pytest.raises(TableError, match="added before"):
        add_price_sheet(other, version="deal-1", as_of="2026-10-01")


def test_an_added_sheet_that_is_edited_is_refused(tmp_path: Path, own_data: Path) -> None:
    add_price_sheet(a_csv(tmp_path), version="deal-1", as_of="2026-10-01")
    (own_data / "deal-1.csv").write_text(OWN.replace(",3", ",4"))
    with pytest.raises(TableError, match="edited"):
        read_price_sheet("deal-1")


@pytest.mark.parametrize("version", ["newest", "2026-09-28", "../up", "a/b", "", "cloud_prices", "all"])
def test_a_version_that_is_taken_or_no_name_is_refused(tmp_path: Path, version: str, own_data: Path) -> None:
    path = a_csv(tmp_path, name="newest.csv")
    with pytest.raises(TableError, match="version"):
        add_price_sheet(path, version=version, as_of="2026-10-01")
    assert not own_data.exists()


def test_a_bad_sheet_is_not_added(tmp_path: Path, own_data: Path) -> None:
    with pytest.raises(TableError):
        add_price_sheet(a_csv(tmp_path, OWN + "TPU,1\n"), version="deal-1", as_of="2026-10-01")
    assert not own_data.exists()


def test_a_table_of_ones_own_keeps_its_rows(tmp_path: Path) -> None:
    table = read_own_prices(a_csv(tmp_path), as_of="2026-10-01")
    assert table.version == "prices"
    assert table.frame["price_usd_per_hour"].tolist() == [3.0, 2.0]


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ([an_offer(price=1.0)], [an_offer(price=1.5)], "rose"),
        ([an_offer(price=1.0)], [an_offer(price=0.5)], "fell"),
        ([an_offer()], [], "vanished"),
        ([], [an_offer()], "appeared"),
        ([an_offer()], [an_offer(price=None, billing="contact-sales")], "lost its public price"),
        ([an_offer(price=None, billing="contact-sales")], [an_offer()], "got a public price"),
        ([an_offer()], [an_offer()], "same"),
    ],
)
def test_a_change_has_one_word(before: list[Offer], after: list[Offer], word: str) -> None:
    assert [change.change for change in compare_sheets(a_sheet(*before), a_sheet(*after))] == [word]


def test_what_rose_comes_first_with_how_much() -> None:
    changes = compare_sheets(read_price_sheet("2026-02-25"), read_price_sheet("2026-06-11"))
    assert (changes[0].gpu, changes[0].change) == ("A100 PCIe 80GB", "rose")
    assert changes[0].relative_change == pytest.approx(2.0 / 1.65 - 1.0)
    assert compare_sheets(read_price_sheet(), read_price_sheet())[0].change == "same"


def test_an_offer_of_another_cloud_keeps_its_region() -> None:
    offers = read_price_sheet("cloud_prices").offers
    regions = {offer.gpu: offer.regions for offer in offers if offer.provider == "AWS"}
    assert (regions["H200"], regions["B300"]) == (("us-east-1",), ("us-west-2",))


def test_crusoes_names_priced_anew_keep_their_regions_and_others_get_none(tmp_path: Path) -> None:
    sheet = read_price_sheet(a_csv(tmp_path), as_of="2026-10-01", source="quote")
    published = {offer.gpu: offer.regions for offer in read_price_sheet().offers}
    assert {offer.provider for offer in sheet.offers} == {"the user"}
    assert sheet.offers[0].regions == published["H100 HGX 80GB"] != ()
    assert sheet.offers[0].source == "quote; regions as in crusoe_prices"
    assert (sheet.offers[1].regions, sheet.offers[1].source) == ((), "quote")


@pytest.mark.parametrize(
    ("columns", "cells", "regions"),
    [("provider,", "ACME,", ()), ("regions,", "eu-iceland2-a,", ("eu-iceland2-a",)), ("provider,", ",", None)],
)
def test_a_sheet_that_names_provider_or_region_is_taken_at_its_word(
    tmp_path: Path, columns: str, cells: str, regions: tuple[str, ...] | None
) -> None:
    text = f"{columns}gpu,price_usd_per_hour\n{cells}H100 HGX 80GB,3\n"
    offer = read_price_sheet(a_csv(tmp_path, text), as_of="2026-10-01").offers[0]
    published = next(offer for offer in read_price_sheet().offers if offer.gpu == "H100 HGX 80GB")
    assert offer.regions == (published.regions if regions is None else regions)

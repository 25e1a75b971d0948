"""The front as a table, a picture and a page: what stands in them, that nothing is read as markup, and no network."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from compression_examples import GATE, found

from raymaas.report.front import Dot, FrontView, front_csv, front_png
from raymaas.report.front_page import front_html
from raymaas.specs.compression import Gate

HOSTILE = '</script><script>alert("1")</script>'


def dot(name: str, size: float, accuracy: float, **fields: object) -> Dot:
    metrics = {
        "bytes": size,
        "ratio": 10_000 / size,
        "sparsity": 0.5,
        "validation_accuracy": accuracy,
    }
    known: dict[str, object] = {"settings": {"quantize.bits": 3}, "metrics": metrics, "passes": True}
    return Dot(name, **known | fields)  # type: ignore[arg-type]


VIEW = FrontView(
    title="digits: run-1",
    gate=GATE,
    original_bytes=10_000,
    parent_value=0.96,
    dots=(
        dot("t-large", 900, 0.965, on_front=True, served=found("onnx-int8", p50_ms=0.05, rows_per_s=8e4)),
        dot(
            "t-small",
            300,
            0.955,
            on_front=True,
            is_knee=True,
            chosen=("smallest", "knee"),
            served=found("torch"),
        ),
        dot("t-beaten", 950, 0.951, settings={"prune.score": "taylor", "quantize.bits": 5}),
        dot("t-bad", 120, 0.90, on_front=True, passes=False),
        dot("t-lost", 80, 0.2, stopped="after prune it lost 70 points"),
    ),
)


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text by tag."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)

    def of_class(self, word: str) -> list[dict[str, str | None]]:
        return [attrs for _, attrs in self.tags if word in (attrs.get("class") or "").split()]


def test_the_table_has_every_recipe_with_its_settings_standing_and_latency() -> None:
    rows = list(csv.DictReader(io.StringIO(front_csv(VIEW).decode())))

    assert [row["trial"] for row in rows] == ["t-bad", "t-small", "t-large", "t-beaten", "t-lost"]
    by_name = {row["trial"]: row for row in rows}
    assert [by_name[n]["front"] for n in ("t-bad", "t-small", "t-beaten")] == ["1", "1", "0"]
    assert (by_name["t-small"]["chosen"], by_name["t-small"]["knee"]) == ("smallest knee", "1")
    assert (by_name["t-large"]["runtime"], by_name["t-large"]["p50_ms"]) == ("onnx-int8", "0.05")
    assert by_name["t-beaten"]["prune.score"] == "taylor"
    assert by_name["t-small"]["prune.score"] == ""
    assert float(by_name["t-small"]["validation_accuracy"]) == 0.955
    assert by_name["t-lost"]["stopped"] == "after prune it lost 70 points"


def test_the_picture_is_a_png_and_the_same_for_the_same_recipes() -> None:
    first = front_png(VIEW)

    assert first.startswith(b"\x89PNG\r\n\x1a\n")
    assert first == front_png(VIEW)
    assert first != front_png(replace(VIEW, dots=VIEW.dots[1:]))


def test_the_page_has_a_dot_for_every_recipe_that_was_carried_out_and_a_row_for_every_one() -> None:
    page = Page(front_html(VIEW))

    dots = {
        str(attrs["data-trial"]): attrs
        for tag, attrs in page.tags
        if tag == "circle" and "data-trial" in attrs
    }
    assert dots.keys() == {"t-large", "t-small", "t-beaten", "t-bad"}
    rows = [attrs["data-trial"] for tag, attrs in page.tags if tag == "tr" and "data-trial" in attrs]
    assert rows == ["t-bad", "t-small", "t-large", "t-beaten", "t-lost"]
    assert "speed0" in str(dots["t-large"]["class"])
    assert "speed4" in str(dots["t-small"]["class"])
    assert "fails" in str(dots["t-bad"]["class"])
    assert len(page.of_class("ring")) == 1
    assert "chosen: smallest, knee" in page.texts["text"]
    assert "ended early: after prune it lost 70 points" in page.texts["td"]


def test_smaller_stands_further_left_better_further_up_and_what_is_far_off_at_the_edge() -> None:
    page = Page(front_html(replace(VIEW, dots=(*VIEW.dots, dot("t-awful", 100, 0.1, passes=False)))))

    at = {
        str(attrs["data-trial"]): (float(str(attrs["cx"])), float(str(attrs["cy"])))
        for tag, attrs in page.tags
        if tag == "circle" and "data-trial" in attrs
    }
    assert at["t-small"][0] < at["t-large"][0]
    assert at["t-large"][1] < at["t-small"][1] < at["t-bad"][1] <= at["t-awful"][1]
    assert all(0 <= x <= 760 and 0 <= y <= 430 for x, y in at.values())
    gate = next(attrs for attrs in page.of_class("gate"))
    assert at["t-small"][1] < float(str(gate["y1"])) < at["t-bad"][1]


def test_of_a_metric_where_less_is_better_the_gate_lies_above_the_parent() -> None:
    dots = (
        Dot("a", {}, {"bytes": 100.0, "validation_rmse": 2.05}, passes=True, on_front=True),
        Dot("b", {}, {"bytes": 50.0, "validation_rmse": 9.0}, on_front=True),
    )
    view = FrontView("m", Gate(metric="rmse", max_loss=0.1), 1000, 2.0, dots)

    assert view.limit == pytest.approx(2.1)
    assert view.values_shown() == (2.0, pytest.approx(2.4))
    assert b"with at most 2.1" in front_html(view)


def test_nothing_that_comes_from_a_job_is_read_as_markup() -> None:
    view = replace(
        VIEW, title=HOSTILE, dots=(dot(HOSTILE, 10, 0.96, settings={HOSTILE: HOSTILE}, stopped=""),)
    )

    page = Page(front_html(view))

    assert [tag for tag, _ in page.tags].count("script") == 1
    assert HOSTILE in "".join(page.texts["h1"])
    # What a script says is never parsed: it is the same for every page.
    assert HOSTILE not in "".join(page.texts["script"])


def test_the_page_asks_for_nothing_from_a_network() -> None:
    page = front_html(VIEW).decode()

    assert "default-src 'none'" in page
    assert not re.search(r"""(?:src|href)\s*=|url\(|@import|https?://|fetch\(|innerHTML""", page)


def test_a_search_of_one_recipe_and_one_without_a_budget_can_be_drawn() -> None:
    alone = replace(VIEW, gate=Gate(metric="accuracy", max_loss=0), dots=(dot("t", 10_000, 0.96),))

    assert front_png(alone)
    assert len(Page(front_html(alone)).of_class("dot")) >= 1


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node to read JavaScript")
def test_the_script_of_the_page_is_javascript() -> None:
    script = "".join(Page(front_html(VIEW)).texts["script"])

    checked = subprocess.run(
        ["node", "--check", "-"], input=script, text=True, capture_output=True, timeout=60
    )

    assert checked.returncode == 0, checked.stderr

"""The report's page and pictures: Markdown that holds together, PNGs that show what they were given."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from raymaas.report.confusion import confusion_png, worst_pairs
from raymaas.report.curves import learning_png
from raymaas.report.images import Tile, grid_png, is_image
from raymaas.report.page import Picture, Section, block, files_of, table
from raymaas.report.reliability import reliability_png
from raymaas.report.residuals import residuals_png
from raymaas.specs.evaluation import ReliabilityBin


def drawn(png: bytes) -> np.ndarray:
    """The pixels, [height, width, 3]; it must be a whole PNG."""
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB"))


def test_the_page_names_its_pictures_and_leaves_out_what_is_empty():
    picture = Picture("learning.png", "Losses", b"png")
    files = files_of(
        "digits@1", [Section("Learned", ("Well.",), (picture,)), Section("Empty"), Section("Last", ("End.",))]
    )
    assert files["learning.png"] == b"png"
    assert files["report.md"].decode() == (
        "# digits@1\n\n## Learned\n\nWell.\n\n![Losses](learning.png)\n\n## Last\n\nEnd.\n"
    )


def test_a_table_escapes_what_would_break_it():
    assert table(("a", "b"), [("x|y", "1\n2")]) == "| a | b |\n|---|---|\n| x\\|y | 1 2 |"


def test_a_block_outlasts_the_fences_in_its_text():
    text = "before ````\ninside"
    assert block(text) == f"`````\n{text}\n`````"
    assert block("plain").startswith("```\n")


@pytest.mark.parametrize("epochs", [1, 3, 200])
def test_learning_curves_are_drawn_with_and_without_figures(epochs: int):
    losses = {n: {"train_loss": 1 / n, "validation_loss": 1 / n + 0.1} for n in range(1, epochs + 1)}
    plain = drawn(learning_png(losses, best_epoch=epochs))
    with_figure = {n: epoch | {"validation_accuracy": 0.5} for n, epoch in losses.items()}
    wide = drawn(learning_png(with_figure, best_epoch=1))
    assert wide.shape[1] > 1.5 * plain.shape[1], "a second panel"


def test_the_same_figures_give_the_same_bytes():
    losses = {1: {"train_loss": 1.0, "validation_loss": 2.0}}
    assert learning_png(losses, best_epoch=1) == learning_png(losses, best_epoch=1)


@pytest.mark.parametrize("classes", [2, 10, 60])
def test_a_confusion_matrix_is_drawn_for_few_and_many_classes(classes: int):
    right = drawn(confusion_png((5 * np.eye(classes, dtype=int)).tolist(), [f"c{n}" for n in range(classes)]))
    wrong = drawn(confusion_png(np.ones((classes, classes), int).tolist(), [f"c{n}" for n in range(classes)]))
    assert right.shape == wrong.shape
    assert not np.array_equal(right, wrong)


def test_the_worst_pairs_come_first():
    confusion = [[9, 2, 0], [5, 9, 1], [0, 0, 9]]
    assert worst_pairs(confusion, "abc", most=2) == [("b", "a", 5), ("a", "b", 2)]
    assert worst_pairs([[3, 0], [0, 3]], "ab") == []


def test_a_reliability_diagram_shows_on_which_side_it_is_off():
    def bins(accuracy: float) -> list[ReliabilityBin]:
        return [ReliabilityBin(above=0.5, up_to=0.6, rows=10, probability=0.55, accuracy=accuracy)]

    red, green = np.array([0xCC, 0x33, 0x11]), np.array([0x22, 0x88, 0x33])
    for accuracy, colour, absent in ((0.1, red, green), (0.95, green, red)):
        pixels = drawn(reliability_png(bins(accuracy))).reshape(-1, 3)
        lines = [(pixels == c).all(axis=1).sum() for c in (colour, absent)]
        assert lines[0] > 2 * lines[1], "beyond the sample in the legend"


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        ((28, 28), True),
        ((3, 32, 32), True),
        ((1, 8, 8), True),
        ((64,), False),
        ((30, 2), False),
        ((5, 9, 9), False),
    ],
)
def test_which_rows_are_images(shape: tuple[int, ...], shown: bool):
    assert is_image(shape) is shown


def test_a_grid_shows_pixels_and_marks_mistakes_in_red():
    white, black = np.ones((8, 8)), np.zeros((8, 8))
    plain = drawn(grid_png([Tile(black, "1"), Tile(white, "2")], columns=2, title="rows"))
    marked = drawn(grid_png([Tile(black, "1"), Tile(white, "2", marked=True)], columns=2, title="rows"))
    assert (plain == 0).all(axis=2).sum() > 1000
    reddish = [((p[..., 0] > 150) & (p[..., 1] < 120) & (p[..., 2] < 120)).sum() for p in (plain, marked)]
    assert reddish[0] == 0
    assert reddish[1] > 0
    drawn(grid_png([Tile(np.zeros((3, 8, 8)))] * 5, columns=4, title="in colour"))


def test_residuals_are_drawn():
    target = np.arange(30.0)
    exact = drawn(residuals_png(target, target))
    off = drawn(residuals_png(target, target[::-1]))
    assert exact.shape[2] == off.shape[2] == 3
    assert not np.array_equal(exact, off)

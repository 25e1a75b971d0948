"""The model card as a page: what is on it, what is said to be missing, and text that cannot become markup."""

from __future__ import annotations

from markdown_it import MarkdownIt
from registry_examples import FILES, accounting, draft, memory_store

from raymaas.registry.card import render
from raymaas.registry.versions import Versions
from raymaas.specs.cards import Card
from raymaas.specs.evaluation import Metric
from raymaas.specs.jobs import Component
from raymaas.specs.selecting import Selection
from raymaas.specs.versions import CompressionLineage, ModelVersion

CARD = {
    "licence": "CC-BY-4.0",
    "intended_use": "Reading digits.",
    "data_sources": ["UCI, https://doi.org/10.24432/C50P49"],
    "limits": ["No letters.", "No photographs."],
}


def version(card: dict[str, object] | None = None, *, compressed: bool = False) -> ModelVersion:
    said = draft()
    lineage = said.lineage
    if compressed:
        theirs = Metric(value=0.9806, low=0.96, high=0.991, method="wilson")
        made = CompressionLineage(
            recipe=(Component(use="prune", config={"sparsity": 0.8}), Component(use="quantize")),
            trial="t-3",
            original=1,
            original_bytes=70,
            parent_evaluation=said.evaluation.model_copy(update={"metrics": {"accuracy": theirs}}),
        )
        lineage = lineage.model_copy(update={"parent": 1, "compression": made})
    whole = said.model_copy(
        update={"lineage": lineage, "card": None if card is None else Card.parse(card, source="card")}
    )
    return Versions(memory_store()).publish(whole, FILES)


def test_the_page_says_what_the_maker_said_and_what_was_measured() -> None:
    published = version(CARD)
    lines = render(published).splitlines()
    assert lines[0] == "# digits@1"
    sha256 = published.files["model.onnx"].sha256
    for line in (
        "| **Licence** | [CC-BY-4.0](https://spdx.org/licenses/CC-BY-4.0.html) |",
        "| **Architecture** | `mlp` with `hidden=[64]`; tells 10 classes apart |",
        "| **Weights** | `model.safetensors`, 7 bytes |",
        "Reading digits.",
        "- No photographs.",
        "- UCI, https://doi.org/10.24432/C50P49",
        "Prepared as data set `digits`, fingerprint `f`.",
        "| accuracy | 0.9700 | 0.9500 to 0.9800 (95 %, wilson) |",
        "| input | pixels | FP32 | rows x 64 |",
        "| **Run** | `train-digits-1` |",
        "| **Libraries** | torch 2.13.0 |",
        f"| `model.onnx` | 5 | `{sha256}` |",
    ):
        assert line in lines
    assert "## Compression" not in lines
    assert [line for line in lines if line.startswith("## ")] == [
        f"## {name}"
        for name in ("Intended use", "Limits", "Data", "Evaluation", "Signature", "Lineage", "Files")
    ]


def test_what_something_simple_reaches_on_the_same_rows_stands_below_the_figures() -> None:
    published = version()
    evaluation = published.evaluation.model_copy(
        update={"baselines": {"the most frequent class": {"accuracy": 0.1028}}}
    )
    lines = render(published.model_copy(update={"evaluation": evaluation})).splitlines()
    assert lines.index("- the most frequent class: accuracy 0.1028") > lines.index("## Evaluation")
    assert "On the same rows:" not in render(published)


def test_a_compressed_version_names_its_parent_the_ratio_and_the_recipe() -> None:
    lines = render(version(compressed=True)).splitlines()
    assert any("take 70: 1/10.0." in line and "Made from digits@1 by trial `t-3`" in line for line in lines)
    assert "1. `prune` with `sparsity=0.8`" in lines
    assert "2. `quantize`" in lines
    assert any(line.endswith("| 0.9806, 0.9600 to 0.9910 (95 %, wilson) |") for line in lines)
    assert "| **Parent** | digits@1 |" in lines


def test_what_a_compressed_version_was_found_to_be_in_each_runtime_is_on_the_page() -> None:
    published = version(compressed=True)
    compression = published.lineage.compression
    assert compression is not None
    compression = compression.model_copy(update={"accounting": accounting()})
    lineage = published.lineage.model_copy(update={"compression": compression})

    page = render(published.model_copy(update={"lineage": lineage}))

    for line in (
        "| `onnx-int8` | 0.9711 | 0.083 | 0.125 | 60,000 |  | 6.00 times | 128 | yes |",
        "| `torch-bf16` | 0.9000 |  |  |  |  |  |  | accuracy is 0.9 \\| there |",
        "| `torch` |  | 0.500 | 0.750 | 10,000 |  |  |  | the original |",
        "| `prune` | 350 | 90 | 10,000 | no speed in onnx-int8 |",
        "512 training rows decided the ranges of 8-bit activations (minmax).",
    ):
        assert line in page.splitlines()
    html = MarkdownIt("commonmark").enable("table").render(page)
    assert "<td>onnx-int8</td>" in html.replace("<code>", "").replace("</code>", "")


def test_how_a_compressed_version_was_chosen_is_on_the_page_and_stays_text() -> None:
    published = version(compressed=True)
    selection = Selection(
        rules=("smallest", "knee"),
        part="<b>validation",
        rows=1500,
        metric="accuracy",
        parent_value=0.98,
        max_loss=0.005,
        value=0.979,
        trials=12,
        candidates=3,
        chosen_at=published.created_at,
        tested_at=published.created_at,
    )
    assert published.lineage.compression is not None
    compression = published.lineage.compression.model_copy(update={"selection": selection})
    lineage = published.lineage.model_copy(update={"compression": compression})

    page = render(published.model_copy(update={"lineage": lineage}))

    assert (
        "Chosen as smallest and knee of 12 recipes, 3 of them tried in every runtime, by accuracy on 1,500"
        in page
    )
    assert "<b>" not in MarkdownIt("commonmark").render(page)


def test_what_nobody_said_is_shown_as_not_stated() -> None:
    page = render(version())
    assert "| **Licence** | *Not stated.* |" in page
    assert page.count("*Not stated.*") == 4


def test_a_reasoned_other_licence_is_quoted() -> None:
    assert "| **Licence** | Other: our own \\| mail |" in render(
        version({"licence": {"other": "our own | mail"}})
    )


def test_what_is_said_stays_text() -> None:
    page = render(
        version(
            {
                "intended_use": "# Not a heading\n\n## nor this <script>alert(1)</script>",
                "limits": ["1. *not* a list", "[no](javascript:x) `code`", "see https://a.b/c_d?e&f"],
            }
        )
    )
    assert "\\# Not a heading ## nor this \\<script\\>alert(1)\\</script\\>" in page
    assert "- 1\\. \\*not\\* a list" in page
    assert "- \\[no\\](javascript:x) \\`code\\`" in page
    assert "- see https://a.b/c_d?e&f\n" in page
    html = MarkdownIt("commonmark").enable("table").render(page)
    assert (html.count("<h1>"), html.count("<h2>"), html.count("<ol>")) == (1, 7, 0)
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert 'href="javascript' not in html
    assert "<li>[no](javascript:x) `code`</li>" in html

"""Judging a version by a policy: each thing missing alone, all of them at once, and nothing."""

from __future__ import annotations

from typing import Any

import pytest
from registry_examples import FILES, draft, memory_store

from raymaas.errors import InvalidInput
from raymaas.registry.judgement import Comparison, judge, why_not_comparable
from raymaas.registry.versions import Versions
from raymaas.specs.cards import Card
from raymaas.specs.evaluation import Metric
from raymaas.specs.policies import Policy
from raymaas.specs.versions import ModelVersion

CARD = {
    "licence": "cc-by-4.0",
    "intended_use": "reading digits",
    "data_sources": ["UCI"],
    "limits": ["no letters"],
}
WORSE = Metric(value=-0.01, low=-0.03, high=0.01, method="tango")


def candidate(card: dict[str, Any] | None = None, **evaluation: Any) -> ModelVersion:
    """digits@1 with accuracy 0.97 (0.95 to 0.98) and log loss 0.10 (0.08 to 0.25)."""
    whole = draft()
    loss = Metric(value=0.1, low=0.08, high=0.25, method="normal")
    found = whole.evaluation.model_copy(
        update={"metrics": whole.evaluation.metrics | {"log_loss": loss}} | evaluation
    )
    said = None if card is None else Card.parse(card, source="card")
    return Versions(memory_store()).publish(
        whole.model_copy(update={"evaluation": found, "card": said}), FILES
    )


def lacks(policy: dict[str, Any], version: ModelVersion, comparison: Comparison | None = None) -> list[str]:
    return judge(Policy.parse(policy, source="policy"), version, comparison)


@pytest.mark.parametrize("field", ["licence", "intended_use", "data_sources", "limits"])
def test_a_field_of_the_card_that_is_not_given(field: str) -> None:
    policy = {"card": list(CARD)}
    assert lacks(policy, candidate(CARD)) == []
    (missing,) = lacks(policy, candidate({k: v for k, v in CARD.items() if k != field}))
    assert missing == f"its card gives no {field}; say it under `card:` in the job"
    assert len(lacks(policy, candidate(None))) == 4


def test_blank_text_is_not_given() -> None:
    assert lacks({"card": ["intended_use"]}, candidate({"intended_use": " \n"}))


def test_a_licence_that_is_not_allowed() -> None:
    policy = {"licences": ["MIT", "apache-2.0"]}
    assert lacks(policy, candidate({"licence": "mit"})) == []
    assert lacks(policy, candidate(CARD)) == ["its licence is CC-BY-4.0; allowed are MIT, Apache-2.0"]
    assert lacks(policy, candidate()) == ["its card gives no licence; allowed are MIT, Apache-2.0"]
    other = candidate({"licence": {"other": "our mail"}})
    assert lacks(policy, other) == ["its licence is other: our mail; allowed are MIT, Apache-2.0"]
    assert lacks({"licences": ["other"]}, other) == []


def test_no_licence_is_missing_once_however_often_it_is_asked() -> None:
    assert len(lacks({"card": ["licence"], "licences": ["MIT"]}, candidate())) == 1


@pytest.mark.parametrize(
    "text", ["CC-BY", "MIT OR Apache-2.0", "LicenseRef-mine", "Apache-2.0+", "", "other"]
)
def test_what_is_no_spdx_licence_is_refused(text: str) -> None:
    with pytest.raises(
        InvalidInput, match=r"licence: it must be one licence of the SPDX list.*other: the reason"
    ):
        Card.parse({"licence": text}, source="card")


def test_an_interval_must_lie_inside_by_its_worse_end_and_a_value_by_itself() -> None:
    bounds = {"metrics": {"accuracy": {"at_least": 0.96}, "log_loss": {"at_most": 0.2}}}
    assert lacks(bounds | {"judge": "value"}, candidate()) == []
    assert lacks(bounds, candidate()) == [
        "accuracy is 0.9700 (0.9500 to 0.9800, 0.95 wilson), and the lower end must be at least 0.96",
        "log_loss is 0.1000 (0.0800 to 0.2500, 0.95 normal), and the upper end must be at most 0.2",
    ]
    on_the_edge = {"metrics": {"accuracy": {"at_least": 0.95}, "log_loss": {"at_most": 0.25}}}
    assert lacks(on_the_edge, candidate()) == []
    value = {"metrics": {"accuracy": {"at_least": 0.98}}, "judge": "value"}
    assert lacks(value, candidate())[0].endswith("and the value must be at least 0.98")


def test_a_metric_that_was_not_measured() -> None:
    assert lacks({"metrics": {"f1": {"at_least": 0}}}, candidate()) == [
        "its evaluation has no f1; it has accuracy, log_loss"
    ]


def test_a_loss_against_the_current_version_that_may_be_too_great() -> None:
    policy = {"not_worse": {"by": 0.02}}
    assert lacks(policy, candidate(), Comparison(7, WORSE)) == [
        "accuracy minus that of digits@7, on the same 360 rows, is -0.0100 (-0.0300 to +0.0100, 0.95 tango), and"
        " the lower end must be at least -0.02"
    ]
    assert lacks({"not_worse": {"by": 0.03}}, candidate(), Comparison(7, WORSE)) == []
    assert lacks(policy, candidate(), None) == [], "an alias that points nowhere has nothing to be worse than"


def test_a_comparison_that_could_not_be_made_is_a_refusal() -> None:
    (missing,) = lacks({"not_worse": {"by": 0.9}}, candidate(), Comparison(7, "digits@7 has no file 'e'"))
    assert "cannot be told: digits@7 has no file 'e'. Register a version from the data and split" in missing


def test_everything_missing_is_named_at_once() -> None:
    policy = {
        "card": ["intended_use", "limits"],
        "licences": ["MIT"],
        "metrics": {"accuracy": {"at_least": 0.99}, "f1": {"at_least": 0.5}},
        "not_worse": {"by": 0.02},
    }
    missing = lacks(policy, candidate(), Comparison(7, WORSE))
    named = ("intended_use", "limits", "no licence", "accuracy is", "no f1", "accuracy minus")
    assert len(missing) == len(named)
    assert all(word in sentence for word, sentence in zip(named, missing, strict=True))


@pytest.mark.parametrize("change", [{"fingerprint": "g"}, {"part": "validation"}, {"rows": 100}])
def test_other_rows_are_not_comparable(change: dict[str, Any]) -> None:
    assert why_not_comparable(candidate(), candidate()) is None
    assert "but digits@1 was evaluated on" in (why_not_comparable(candidate(), candidate(**change)) or "")


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({}, "it asks for nothing"),
        ({"judge": "value"}, "it asks for nothing"),
        ({"metrics": {"accuracy": {}}}, "say at_least, at_most, or both"),
        ({"metrics": {"accuracy": {"at_least": 2, "at_most": 1}}}, r"at_least \(2\) is above at_most \(1\)"),
        ({"licences": ["MTI"]}, "licences.0: it must be one licence of the SPDX list"),
        ({"not_worse": {"by": 1}}, "not_worse.by"),
        ({"not_worse": {"by": 0.1, "metric": "log_loss"}}, "not_worse.metric"),
        ({"card": ["licenc"]}, "card.0"),
        ({"metrik": {}}, "did you mean 'metrics'"),
    ],
)
def test_a_policy_that_means_nothing_is_refused(policy: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Policy.parse(policy, source="policy")

"""The order of passes: what cannot work is refused with the reason, what can is not."""

from itertools import permutations

import pytest

from raymaas.compress.recipe import PASSES, passes_of
from raymaas.errors import InvalidInput
from raymaas.specs.jobs import Component

STEPS = {
    "distill": {"student": {"use": "logistic"}},
    "channels": {"keep": 0.5},
    "lowrank": {},
    "l1": {"strength": 0.1},
    "prune": {"sparsity": 0.5},
    "finetune": {},
    "quantize": {"bits": 4},
    "compute": {},
    "entropy": {},
}


def recipe(*names: str) -> list[Component]:
    return [Component(use=name, config=STEPS[name]) for name in names]


def test_every_pass_has_its_place():
    assert STEPS.keys() == PASSES.keys()
    for one, other in permutations(PASSES, 2):
        accepted = [not _refused(one, other), not _refused(other, one)]
        assert any(accepted), f"{one} and {other} go together in no order"


def _refused(*names: str) -> bool:
    try:
        passes_of(recipe(*names))
    except InvalidInput:
        return True
    return False


@pytest.mark.parametrize("middle", list(permutations(["l1", "prune", "finetune"])))
def test_what_moves_weights_goes_between_a_new_structure_and_rounding_in_any_order(middle):
    assert len(passes_of(recipe("distill", "channels", "lowrank", *middle, "quantize"))) == 7


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("channels", "distill"), "a student begins with new weights.*put 'distill' before 'channels'"),
        (("lowrank", "channels"), "units are taken out of whole matrices.*put 'channels' before 'lowrank'"),
        (("prune", "channels"), "masks and factors from before would be lost"),
        (("prune", "lowrank"), "the factors of a matrix have none of its zeros"),
        (("quantize", "lowrank"), "put 'lowrank' before 'quantize'"),
        (("quantize", "l1"), "'l1' would move weights off the levels they were settled on"),
        (("channels", "quantize", "prune"), "pass 'prune' follows 'quantize'"),
        (("compute", "quantize"), "it says how finished weights are run; put 'quantize' before 'compute'"),
        (("entropy", "prune"), "it says how finished weights are coded; put 'prune' before 'entropy'"),
    ],
)
def test_an_order_that_loses_what_was_done_is_refused_with_the_reason(names, reason):
    with pytest.raises(InvalidInput, match=reason):
        passes_of(recipe(*names))

"""Promotion: the one place where a move to a protected alias is held against the alias's policy.

Judged is every move that makes an alias with a policy point at another version. Not judged are

    rollbacks   they only bring back what was allowed, or not yet forbidden, once, and must work in an emergency
    traffic     it names versions, not aliases; whoever wants it guarded asks for the model by its alias

The policy is read after the state and before the move is appended. So a policy set meanwhile does not hold a
move up that was already under way; the move's `Change.policy` says which revision it was judged by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from raymaas.errors import IntegrityError, InvalidInput, NotFound, Refused
from raymaas.registry.judgement import Comparison, judge, why_not_comparable
from raymaas.specs.evaluation import Metric
from raymaas.specs.policies import NotWorse, PolicyRevision
from raymaas.specs.serving import ModelState
from raymaas.specs.versions import ModelVersion


class Compare(Protocol):
    """Compares two versions on their common test rows, which takes what this floor does not know: the file's form."""

    def __call__(self, candidate: ModelVersion, current: ModelVersion, *, confidence: float) -> Metric:
        """Accuracy of `candidate` minus that of `current`. Raises NotFound, IntegrityError or InvalidInput."""
        ...


def not_compared(candidate: ModelVersion, current: ModelVersion, *, confidence: float) -> Metric:
    """For processes that were given no way to compare: what needs it is refused, never waved through."""
    raise InvalidInput("this process cannot read evaluations; make the move through the control API")


@dataclass(frozen=True)
class Gate:
    """`policy_of` gives the policy in force of a model and alias, `manifest_of` a version's manifest."""

    policy_of: Callable[[str, str], PolicyRevision | None]
    manifest_of: Callable[[str, int], ModelVersion]
    compare: Compare

    def admitted(self, now: ModelState | None, wanted: ModelState) -> ModelState:
        """`wanted`, with the revision of the policy that allowed it, if one was asked.

        Raises Refused with everything that is missing, and what reading the policy or the candidate raises.
        """
        if wanted.change.action == "rollback":
            return wanted
        before = now.aliases if now else {}
        for alias in sorted(wanted.aliases):
            if wanted.aliases[alias] != before.get(alias):
                policy = self.policy_of(wanted.model, alias)
                if policy is not None:
                    self._require(policy, wanted.aliases[alias], before.get(alias))
                    change = wanted.change.model_copy(update={"policy": policy.revision})
                    wanted = wanted.model_copy(update={"change": change})
        return wanted

    def _require(self, revision: PolicyRevision, version: int, current: int | None) -> None:
        model, alias, policy = revision.model, revision.alias, revision.policy
        assert policy is not None
        candidate = self.manifest_of(model, version)
        comparison = None
        if policy.not_worse is not None and current is not None:
            comparison = self._comparison(candidate, current, policy.not_worse)
        missing = judge(policy, candidate, comparison)
        if missing:
            raise Refused(
                f"alias {alias!r} of {model!r} cannot point at version {version}, its policy (revision"
                f" {revision.revision}) is not met: {'; '.join(missing)}. Register a version that meets it, or see"
                f" `raymaas models policy show {model} {alias}`"
            )

    def _comparison(self, candidate: ModelVersion, current: int, asked: NotWorse) -> Comparison:
        try:
            pointed_at = self.manifest_of(candidate.model, current)
            why_not = why_not_comparable(candidate, pointed_at)
            if why_not is not None:
                return Comparison(current, why_not)
            return Comparison(current, self.compare(candidate, pointed_at, confidence=asked.confidence))
        except (NotFound, IntegrityError, InvalidInput) as error:
            return Comparison(current, str(error))

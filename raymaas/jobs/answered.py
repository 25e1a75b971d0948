"""Answers with labels: the samples of a store joined with the feedback on them, for runs that learn from them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from raymaas.data.sources.labelled import AskForLabelled, LabelledAnswers
from raymaas.errors import InvalidInput, NotFound
from raymaas.registry.feedback import FeedbackLog, judged
from raymaas.registry.samples import Samples
from raymaas.registry.sampling import SamplingRules
from raymaas.registry.versions import Versions
from raymaas.specs.names import Reference
from raymaas.specs.sampling import LABEL
from raymaas.store import Store

_WRITTEN_AFTER_S = 15.0  # a replica writes every ten
_WRITTEN_LATE = timedelta(hours=1)  # one that cannot write for a while masks by the rule of when it can


def labelled_in(store: Store, *, sleep: Callable[[float], None] = time.sleep) -> AskForLabelled:
    """From what lies in `store`, once replicas have had the time to write what they answered until then."""

    def ask(of: str, since: datetime, until: datetime) -> LabelledAnswers:
        # A run that is carried out again must find no more than it did the first time.
        sleep(max(0.0, _WRITTEN_AFTER_S - (store.now() - until).total_seconds()))
        return _labelled(store, of, since, until)

    return ask


def _labelled(store: Store, of: str, since: datetime, until: datetime) -> LabelledAnswers:
    """Raises NotFound for a model or version that there is none of, or nothing was ever kept of; InvalidInput for an
    alias, and while labels are masked.
    """
    reference, versions = Reference.parse(of), Versions(store)
    model = reference.model
    if reference.alias is not None:
        raise InvalidInput(f"{of} is not a version; submitting a run makes one of it, so submit the job")
    numbers = None if reference.version is None else [reference.version]
    newest = versions.newest(model) if numbers is None else versions.manifest(model, numbers[0])
    rules = SamplingRules(store)
    if rules.newest(model) is None:
        raise NotFound(
            f"nothing was ever kept of what {model!r} was asked: `raymaas sampling set {model} --rate 10%` begins"
        )
    kept_under = rules.since(model, since, until=until + _WRITTEN_LATE)
    # A class that was rounded is another text.
    if mask := kept_under.mask(LABEL, rounds=bool(newest.signature.classes)):
        raise InvalidInput(
            f"the sampling rule of {model} hides or hid labels ({mask}), which a run learns from; take only what was"
            " said after it, with data.config.since_days"
        )
    said = FeedbackLog(store).table(model, since=since, until=until)
    said = said.filter(said["label"].is_valid())
    found = judged(Samples(store), said, model, versions=numbers, since=since, until=until)
    return LabelledAnswers(model, newest.signature, found.rows.drop_columns(["reward"]), kept_under)

"""Reports: what evaluate jobs found, one for each run, create-only."""

from __future__ import annotations

from raymaas.errors import AlreadyExists, NotFound
from raymaas.registry.layout import report_key
from raymaas.registry.once import new_write_id, write_document
from raymaas.specs.reports import EvaluationReport
from raymaas.store import Store


class Reports:
    """The reports in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(self, report: EvaluationReport) -> EvaluationReport:
        """Keep the report of its run. Of two, as after a driver that was killed too late, the first counts."""
        written = report.model_copy(update={"write_id": new_write_id()})
        try:
            write_document(self._store, report_key(report.run_id), written)
        except AlreadyExists:
            return self.of_run(report.run_id)
        return written

    def of_run(self, run_id: str) -> EvaluationReport:
        """What the run found. Raises NotFound when it has not ended well, or is of another kind."""
        key = report_key(run_id)
        try:
            return EvaluationReport.unseal(self._store.read(key), source=key)
        except NotFound:
            raise NotFound(
                f"run {run_id!r} has no report; `raymaas runs show {run_id}` says how it stands"
            ) from None

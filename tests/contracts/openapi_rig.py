"""An OpenAPI document as it is served, and schemathesis to see whether answers are those it promises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import hypothesis
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.schemas import OpenApiSchema

from raymaas.serve.oip import table

schemathesis.serializer.alias(table.MEDIA, "application/octet-stream")

CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
FAULTS = (500, 502)
# Nothing is kept between runs, and every run draws the same.
drawing = hypothesis.settings(
    max_examples=12,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.generate],
)


@dataclass(frozen=True)
class Described:
    """A plane at `url`, and what it says of itself."""

    url: str
    document: OpenApiSchema
    http: requests.Session

    def operations(self) -> dict[str, APIOperation]:
        """By label, such as `GET /v2`."""
        found = (each.ok() for each in self.document.get_all_operations())
        return {each.label: each for each in found}

    def draw(self, label: str, known: Mapping[str, str]) -> set[int]:
        """Ask what may be asked and what may not, half of it at a path of `known` names; the statuses that came.

        Fails on a fault of the server, and on an answer that the document does not promise.
        """
        operation = self.operations()[label]
        aimed = _aimed(operation, known)
        cases = st.one_of(
            operation.as_strategy(generation_mode=mode, path_parameters=path)
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
            for path in (aimed, None)
        )
        statuses: set[int] = set()

        @drawing
        @hypothesis.given(case=cases)
        def ask(case: schemathesis.Case) -> None:
            answer = case.call(base_url=self.url, session=self.http)
            statuses.add(answer.status_code)
            assert answer.status_code not in FAULTS, answer.text
            case.validate_response(answer, checks=CHECKS)

        ask()
        return statuses

    def ask(self, label: str, known: Mapping[str, str], **sent: object) -> requests.Response:
        """The answer of one operation, which is as the document promises."""
        method, path = label.split(" ")
        answer = self.http.request(method, self.url + path.format(**known), timeout=30, **sent)  # type: ignore[arg-type]
        self.hear(label, known, answer)
        return answer

    def hear(self, label: str, known: Mapping[str, str], answer: requests.Response) -> None:
        """Fails unless `answer` is one that the document promises of that operation."""
        operation = self.operations()[label]
        case = operation.Case(path_parameters=_aimed(operation, known))
        case.validate_response(answer, checks=CHECKS)


def _aimed(operation: APIOperation, known: Mapping[str, str]) -> dict[str, str]:
    return {each.name: known[each.name] for each in operation.path_parameters}


@contextmanager
def described(url: str, path: str, *, headers: Mapping[str, str] | None = None) -> Iterator[Described]:
    """The plane at `url`, by its document at `path`; every request carries `headers`."""
    with requests.Session() as http:
        http.trust_env = False
        http.headers.update(headers or {})
        served = http.get(url + path, timeout=30)
        served.raise_for_status()
        document = schemathesis.openapi.from_dict(served.json())
        document.validate()
        yield Described(url, document, http)

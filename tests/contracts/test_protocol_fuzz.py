"""Whatever comes, the answer is a sentence that says what is wrong, and never a fault of the server."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import httpx
import malformed
from protocol_server import INFER, protocol_server


def test_each_form_is_valid_before_it_is_damaged() -> None:
    with protocol_server() as url, httpx.Client(base_url=url, trust_env=False) as http:
        for sent in malformed.valid():
            answer = http.post(INFER, content=sent.body, headers=sent.headers)
            assert answer.status_code == 200, (sent, answer.text)


def test_a_malformed_request_is_never_answered_5xx() -> None:
    statuses: Counter[int] = Counter()
    with protocol_server() as url, httpx.Client(base_url=url, trust_env=False) as http:
        for sent in islice(malformed.malformed(seed=7), 600):
            answer = http.post(INFER, content=sent.body, headers=sent.headers)
            statuses[answer.status_code] += 1
            assert answer.status_code < 500, (sent, answer.text)
            if answer.status_code != 200:
                assert set(answer.json()) == {"error", "code", "request_id"}
                assert len(answer.text) < 2000, sent
    assert statuses[400] > 200, statuses
    assert statuses.keys() <= {200, 400, 413}, statuses

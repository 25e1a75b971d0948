"""Answers counted for Ray's metrics: as many as were given, whichever thread gave them, in cumulative buckets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from raymaas.serve.answers import Answers, Sum


def test_what_was_told_is_summed_by_status_and_forgotten() -> None:
    answers = Answers([0.001, 0.01, 0.1])
    for seconds in (0.0005, 0.001, 0.05, 7.0):
        answers(status=200, seconds=seconds, request_id="r", rows=1)
    answers(status=404, seconds=0.002)
    assert answers.taken() == {200: Sum(4, 7.0515, (2, 2, 3)), 404: Sum(1, 0.002, (0, 1, 1))}
    assert answers.taken() == {}


def test_none_is_lost_between_threads() -> None:
    answers = Answers([1.0])

    def tell(_: int) -> None:
        for _ in range(500):
            answers(status=200, seconds=0.5)

    with ThreadPoolExecutor(4) as threads:
        telling = threads.map(tell, range(4))
        taken = 0
        for _ in range(50):
            taken += sum(found.count for found in answers.taken().values())
        list(telling)
    assert taken + sum(found.count for found in answers.taken().values()) == 2000

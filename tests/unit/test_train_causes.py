"""What a training that failed on its workers says of why."""

from ray.train.v2.api.exceptions import WorkerGroupError

from raymaas.train.distributed import _cause


def test_the_first_workers_own_sentence_stands_for_the_tracebacks_of_all():
    own = RuntimeError(
        "Traceback (most recent call last):\n  File ...\nNotFound: there is no data set digits\n\n"
    )
    failed = WorkerGroupError(
        "2 workers failed", worker_failures={1: RuntimeError("Connection reset"), 0: own}
    )
    assert _cause(failed) == "worker 0: NotFound: there is no data set digits"

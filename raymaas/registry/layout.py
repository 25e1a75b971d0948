"""Where each document of the registry lies in the store. Names are checked before they become part of a key.

    models/<model>/versions/<counter>.json          the manifest; its appearance is the publication
    models/<model>/by-run/<run>/<counter>.json      which version number a run may claim
    models/<model>/state/<counter>.json             aliases, traffic and scaling, one log
    runs/<run>/spec.json                            what was asked; its appearance makes the run exist
    runs/<run>/status/<counter>.json                how it stands, one log
    runs/<run>/epochs/<epoch>-<attempt>.json        what each epoch measured
    runs/<run>/trials/<trial>.json                  how each trial of a sweep ended
    runs/<run>/front.csv, front.png                 the trials that none beats
    runs/<run>/log/<sequence>.txt                   what it printed
    runs-index/all/<time>-<run>                     runs, newest first
    runs-index/models/<model>/<time>-<run>          runs of one model, newest first

Counters and times are inverted (see `registry.log`), so the first key of a folder is its newest.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from raymaas.errors import InvalidInput
from raymaas.registry.log import sequence_key
from raymaas.specs.names import check_name

MODELS = "models/"
_EPOCH_OF_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_DIGITS = 17  # Microseconds until the year 5138.


def versions_folder(model: str) -> str:
    return f"{_model_folder(model)}versions/"


def version_key(model: str, version: int) -> str:
    return f"{versions_folder(model)}{sequence_key(version)}.json"


def reservations_folder(model: str, run_id: str) -> str:
    return f"{_model_folder(model)}by-run/{_name(run_id)}/"


def reservation_key(model: str, run_id: str, attempt: int) -> str:
    return f"{reservations_folder(model, run_id)}{sequence_key(attempt)}.json"


def state_folder(model: str) -> str:
    return f"{_model_folder(model)}state/"


def state_key(model: str, revision: int) -> str:
    return f"{state_folder(model)}{sequence_key(revision)}.json"


def run_key(run_id: str) -> str:
    return f"runs/{_name(run_id)}/spec.json"


def status_folder(run_id: str) -> str:
    return f"runs/{_name(run_id)}/status/"


def status_key(run_id: str, sequence: int) -> str:
    return f"{status_folder(run_id)}{sequence_key(sequence)}.json"


def epochs_folder(run_id: str) -> str:
    return f"runs/{_name(run_id)}/epochs/"


def epoch_key(run_id: str, epoch: int, attempt: int) -> str:
    """Ascending, so that the last key of an epoch is its latest measurement."""
    return f"{epochs_folder(run_id)}{epoch:09d}-{attempt:06d}.json"


def trials_folder(run_id: str) -> str:
    return f"runs/{_name(run_id)}/trials/"


def trial_key(run_id: str, trial: str) -> str:
    return f"{trials_folder(run_id)}{_name(trial)}.json"


def front_key(run_id: str, kind: str) -> str:
    """`kind` is csv or png."""
    return f"runs/{_name(run_id)}/front.{_name(kind)}"


def log_folder(run_id: str) -> str:
    return f"runs/{_name(run_id)}/log/"


def log_key(run_id: str, sequence: int) -> str:
    """Ascending: a log is read from its beginning."""
    return f"{log_folder(run_id)}{sequence:012d}.txt"


def index_folder(model: str | None) -> str:
    return "runs-index/all/" if model is None else f"runs-index/models/{_name(model)}/"


def index_key(folder: str, created_at: datetime, run_id: str) -> str:
    microseconds = (created_at - _EPOCH_OF_TIME) // timedelta(microseconds=1)
    return f"{folder}{10**_TIME_DIGITS - 1 - microseconds:0{_TIME_DIGITS}d}-{_name(run_id)}"


def indexed_run(key: str) -> str:
    """The run that an index key names."""
    return key.rpartition("/")[2][_TIME_DIGITS + 1 :]


def _model_folder(model: str) -> str:
    return f"{MODELS}{_name(model)}/"


def _name(text: str) -> str:
    try:
        return check_name(text)
    except ValueError as error:
        raise InvalidInput(str(error)) from None

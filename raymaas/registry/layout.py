"""Where each document of the registry lies in the store. Names are checked before they become part of a key.

    blobs/sha256/<hex>/<time>-<random>              one copy of a file; see `registry.blobs`
    models/<model>/versions/<counter>.json          the manifest; its appearance is the publication
    models/<model>/deleted/<counter>.json           the tombstone of a version
    models/<model>/by-run/<run>/<counter>.json      which version number a run may claim
    models/<model>/by-part/<run>/<part>/<counter>.json  likewise, for each further version of the same run
    models/<model>/state/<counter>.json             aliases, traffic and scaling, one log
    models/<model>/rollouts/<counter>.json          how new versions were rolled out, one log
    models/<model>/rollout-plan/<counter>.json      how they are where nothing else is said, one log
    models/<model>/policies/<alias>/<counter>.json  what the alias asks of a version, one log
    models/<model>/children/<counter>/<counter>-<run>  versions made from a version, newest first
    runs/<run>/spec.json                            what was asked; its appearance makes the run exist
    runs/<run>/status/<counter>.json                how it stands, one log
    runs/<run>/epochs/<epoch>-<attempt>.json        what each epoch measured
    runs/<run>/trials/<trial>.json                  how each trial of a sweep ended
    runs/<run>/front/<kind>/<counter>               the trials that none beats, while it goes on; the newest is kept
    runs/<run>/front.csv, front.png, front.html     the same when it is over
    runs/<run>/choice.json                          which trials of a compression were chosen
    runs/<run>/evaluation.json                      what an evaluate job found
    runs/<run>/log/<sequence>.txt                   what it printed
    runs/<run>/progress/<counter>.json              how far it is and what it has used; only the newest is kept
    runs/<run>/report/, tensorboard/                files that it leaves for people; see `registry.artifacts`
    runs/<run>/train/checkpoints/<epoch>-<attempt>.safetensors, .json  a fit after that epoch
    runs/<run>/train/, sweep/                       what Ray Train and Ray Tune keep while it is under way
    runs-index/all/<time>-<run>                     runs, newest first
    runs-index/models/<model>/<time>-<run>          runs of one model, newest first
    leases/<what>/<counter>.json                    who may do it, and until when; see `registry.leases`
    lineage/data/<8 digits>/<fingerprint>/<model>/<counter>-<run>  versions made from a data set
    requests/<model>/<version>/<time>-<replica>.json  what a version answered, newest first
    drift/<model>/<version>/<time>-<replica>.json   how what it was asked looked, in counts, newest first
    models/<model>/sampling/<counter>.json          what is kept of its requests, one log
    samples/<model>/<version>/<time>-<replica>.parquet  what some requests asked and were answered, newest first
    feedback/<model>/<time>-<writer>.parquet        what turned out to be true of them, newest first
    triggers/<name>/is/<counter>.json               a job that is run again by itself, one log
    triggers/<name>/starts/<counter>.json           the runs that it started, one log
    keys/<counter>.json                             the ring of API keys, one log

Counters (see `registry.log`) and times are inverted, so the first key of a folder is its newest. Both have a '/'
inside where the number of entries is open: a local store reads whole folders to find the first key of one.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from raymaas.errors import IntegrityError, InvalidInput
from raymaas.registry.log import sequence_key
from raymaas.specs.names import check_name
from raymaas.specs.versions import FileEntry

MODELS = "models/"
_EPOCH_OF_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TIME_DIGITS = 17  # Microseconds until the year 5138.
_LATEST: int = 10**_TIME_DIGITS - 1
_DAY_DIGITS = 6  # Of those, the leading ones: they change every 28 hours.

BLOBS = "blobs/sha256/"
REQUESTS = "requests/"
DRIFT = "drift/"
SAMPLES = "samples/"
FEEDBACK = "feedback/"
TRIGGERS = "triggers/"
KEYS = "keys/"
_FINGERPRINT_HEAD = 8  # So many characters of one find it.
_FINGERPRINT = re.compile(r"[0-9a-z][0-9a-z._-]{0,127}")


def inverted_time(moment: datetime) -> str:
    """`moment` in microseconds, fixed width: later moments give smaller texts."""
    return f"{_LATEST - (moment - _EPOCH_OF_TIME) // _MICROSECOND:0{_TIME_DIGITS}d}"


def time_of(key: str) -> datetime:
    """The moment in a key whose last segment begins with an inverted time."""
    digits = key.rpartition("/")[2][:_TIME_DIGITS]
    if not digits.isdecimal() or len(digits) < _TIME_DIGITS:
        raise IntegrityError(f"{key} has no time in its name; remove it, it was not written by raymaas")
    return _EPOCH_OF_TIME + (_LATEST - int(digits)) * _MICROSECOND


def code_key(sha256: str) -> str:
    """An archive of code of a user's own; see `raymaas.registry.code`."""
    return f"code/{_fingerprint(sha256)}.zip"


def blob_folder(sha256: str) -> str:
    return f"{BLOBS}{sha256}/"


def blob_key(entry: FileEntry) -> str:
    return f"{blob_folder(entry.sha256)}{entry.copy_id}"


def versions_folder(model: str) -> str:
    return f"{_model_folder(model)}versions/"


def version_key(model: str, version: int) -> str:
    return f"{versions_folder(model)}{sequence_key(version)}.json"


def deleted_folder(model: str) -> str:
    return f"{_model_folder(model)}deleted/"


def deleted_key(model: str, version: int) -> str:
    return f"{deleted_folder(model)}{sequence_key(version)}.json"


def reservations_folder(model: str, run_id: str, part: str | None = None) -> str:
    """`part` names one of the further versions of a run."""
    if part is None:
        return f"{_model_folder(model)}by-run/{_name(run_id)}/"
    return f"{_model_folder(model)}by-part/{_name(run_id)}/{_name(part)}/"


def reservation_key(model: str, run_id: str, attempt: int, part: str | None = None) -> str:
    return f"{reservations_folder(model, run_id, part)}{sequence_key(attempt)}.json"


def state_folder(model: str) -> str:
    return f"{_model_folder(model)}state/"


def state_key(model: str, revision: int) -> str:
    return f"{state_folder(model)}{sequence_key(revision)}.json"


def rollouts_folder(model: str) -> str:
    return f"{_model_folder(model)}rollouts/"


def rollout_key(model: str, revision: int) -> str:
    return f"{rollouts_folder(model)}{sequence_key(revision)}.json"


def rollout_plans_folder(model: str) -> str:
    return f"{_model_folder(model)}rollout-plan/"


def rollout_plan_key(model: str, revision: int) -> str:
    return f"{rollout_plans_folder(model)}{sequence_key(revision)}.json"


def policies_folder(model: str) -> str:
    return f"{_model_folder(model)}policies/"


def policy_folder(model: str, alias: str) -> str:
    return f"{policies_folder(model)}{_name(alias)}/"


def policy_key(model: str, alias: str, revision: int) -> str:
    return f"{policy_folder(model, alias)}{sequence_key(revision)}.json"


def children_folder(model: str, parent: int) -> str:
    return f"{_model_folder(model)}children/{sequence_key(parent)}/"


def child_key(model: str, parent: int, child: int, run_id: str) -> str:
    return f"{children_folder(model, parent)}{sequence_key(child)}-{_name(run_id)}"


def fingerprints_folder(fingerprint: str) -> str:
    """Where all fingerprints that begin with the same eight characters lie."""
    return f"lineage/data/{_fingerprint(fingerprint)[:_FINGERPRINT_HEAD]}/"


def descendants_folder(fingerprint: str) -> str:
    return f"{fingerprints_folder(fingerprint)}{fingerprint}/"


def descendant_key(fingerprint: str, model: str, version: int, run_id: str) -> str:
    return f"{descendants_folder(fingerprint)}{_name(model)}/{sequence_key(version)}-{_name(run_id)}"


def requests_folder(model: str, version: int) -> str:
    return f"{REQUESTS}{_name(model)}/{version}/"


def requests_key(model: str, version: int, until: datetime, replica: str) -> str:
    """The whole time stands in the last segment, for `time_of`; the folders above it split it every 17 minutes."""
    time = inverted_time(until)
    return f"{requests_folder(model, version)}{time[:6]}/{time[6:8]}/{time}-{_name(replica)}.json"


def replica_of(key: str) -> str:
    """The replica in a key of its request log."""
    return key.rpartition("/")[2].partition("-")[2].removesuffix(".json")


def drift_key(model: str, version: int, until: datetime, replica: str) -> str:
    """As `requests_key`, split every 28 hours: there is one a minute."""
    time = inverted_time(until)
    return f"{DRIFT}{_name(model)}/{version}/{time[:_DAY_DIGITS]}/{time}-{_name(replica)}.json"


def sampling_folder(model: str) -> str:
    return f"{_model_folder(model)}sampling/"


def sampling_key(model: str, revision: int) -> str:
    return f"{sampling_folder(model)}{sequence_key(revision)}.json"


def samples_key(model: str, version: int, until: datetime, replica: str) -> str:
    """As `drift_key`."""
    time = inverted_time(until)
    return f"{SAMPLES}{_name(model)}/{version}/{time[:_DAY_DIGITS]}/{time}-{_name(replica)}.parquet"


def feedback_folder(model: str) -> str:
    return f"{FEEDBACK}{_name(model)}/"


def feedback_key(model: str, at: datetime, writer: str) -> str:
    """As `requests_key`: there may be many a second."""
    time = inverted_time(at)
    return f"{feedback_folder(model)}{time[:6]}/{time[6:8]}/{time}-{_name(writer)}.parquet"


def trigger_folder(name: str) -> str:
    return f"{TRIGGERS}{_name(name)}/is/"


def trigger_key(name: str, revision: int) -> str:
    return f"{trigger_folder(name)}{sequence_key(revision)}.json"


def trigger_starts_folder(name: str) -> str:
    return f"{TRIGGERS}{_name(name)}/starts/"


def trigger_start_key(name: str, revision: int) -> str:
    return f"{trigger_starts_folder(name)}{sequence_key(revision)}.json"


def ring_key(revision: int) -> str:
    return f"{KEYS}{sequence_key(revision)}.json"


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
    """`kind` is csv, png or html."""
    return f"runs/{_name(run_id)}/front.{_name(kind)}"


def moving_front_folder(run_id: str, kind: str) -> str:
    return f"runs/{_name(run_id)}/front/{_name(kind)}/"


def moving_front_key(run_id: str, kind: str, sequence: int) -> str:
    return f"{moving_front_folder(run_id, kind)}{sequence_key(sequence)}"


def choice_key(run_id: str) -> str:
    return f"runs/{_name(run_id)}/choice.json"


def report_key(run_id: str) -> str:
    return f"runs/{_name(run_id)}/evaluation.json"


def log_folder(run_id: str) -> str:
    return f"runs/{_name(run_id)}/log/"


def log_key(run_id: str, sequence: int) -> str:
    """Ascending: a log is read from its beginning."""
    return f"{log_folder(run_id)}{sequence:012d}.txt"


def progress_folder(run_id: str) -> str:
    return f"runs/{_name(run_id)}/progress/"


def progress_key(run_id: str, sequence: int) -> str:
    return f"{progress_folder(run_id)}{sequence_key(sequence)}.json"


def artifacts_folder(run_id: str, kind: str) -> str:
    return f"runs/{_name(run_id)}/{_name(kind)}/"


def train_path(run_id: str) -> str:
    """Where Ray Train writes, for its own file system and not as keys."""
    return f"runs/{_name(run_id)}/train"


def checkpoints_folder(run_id: str) -> str:
    """Beside Ray Train's own files, so that both go when the run's checkpoints are no longer kept."""
    return f"{train_path(run_id)}/checkpoints/"


def checkpoint_key(run_id: str, epoch: int, attempt: int, suffix: str) -> str:
    """Ascending. `suffix` is safetensors for the state, json for the progress."""
    return f"{checkpoints_folder(run_id)}{epoch:09d}-{attempt:06d}.{_name(suffix)}"


def checkpoint_of(key: str) -> tuple[int, int]:
    """Epoch and attempt in the key of a checkpoint."""
    epoch, attempt = key.rpartition("/")[2].partition(".")[0].split("-")
    return int(epoch), int(attempt)


def tune_path(run_id: str) -> str:
    """As `train_path`, for Ray Tune. Some of its names are no keys."""
    return f"runs/{_name(run_id)}/sweep"


def index_folder(model: str | None) -> str:
    return "runs-index/all/" if model is None else f"runs-index/models/{_name(model)}/"


def index_key(folder: str, created_at: datetime, run_id: str) -> str:
    time = inverted_time(created_at)
    return f"{folder}{time[:_DAY_DIGITS]}/{time[_DAY_DIGITS:]}-{_name(run_id)}"


def indexed_run(key: str) -> str:
    """The run that an index key names."""
    return key.rpartition("/")[2][_TIME_DIGITS - _DAY_DIGITS + 1 :]


def lease_folder(what: str) -> str:
    return f"leases/{_name(what)}/"


def lease_key(what: str, sequence: int) -> str:
    return f"{lease_folder(what)}{sequence_key(sequence)}.json"


def _model_folder(model: str) -> str:
    return f"{MODELS}{_name(model)}/"


def _fingerprint(text: str) -> str:
    if not _FINGERPRINT.fullmatch(text):
        raise InvalidInput(
            f"{text[:80]!r} is not a fingerprint: 64 hexadecimal digits, or the first 8 or more"
        )
    return text


def _name(text: str) -> str:
    try:
        return check_name(text)
    except ValueError as error:
        raise InvalidInput(str(error)) from None

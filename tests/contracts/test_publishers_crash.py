"""Publishers killed at any moment lose no acknowledged version, tear none, and publish each run once.

The short form; `make soak` runs the long one.
"""

from __future__ import annotations

from pathlib import Path

from crash_publishers import Load, run_publishers
from losing import Losing
from lossy_proxy import Fate, LossyProxy
from s3_server import S3Server

ON_A_FOLDER = Load(publishers=3, runs_each=8, kills=20, longest_life_s=0.15, seed=1)
ON_S3 = Load(publishers=3, runs_each=4, kills=12, longest_life_s=0.8, seed=2)


def test_on_a_folder(tmp_path: Path) -> None:
    survived = run_publishers((tmp_path / "store").as_uri(), tmp_path, ON_A_FOLDER)
    assert survived.versions == 24
    assert survived.kills > 0


def test_on_s3_behind_a_proxy_that_loses_replies(s3: S3Server, s3_prefix: str, tmp_path: Path) -> None:
    with LossyProxy(s3.endpoint, Losing(0.05, seed=2)) as proxy:
        url = s3.url(s3_prefix, endpoint=proxy.endpoint)
        survived = run_publishers(url, tmp_path, ON_S3, environment=s3.environment)
    assert survived.versions == 12
    assert survived.kills > 0
    assert proxy.count("PUT", Fate.DROP) > 0

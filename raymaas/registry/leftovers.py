"""Leftovers: the files that Ray Train and Ray Tune write of a run, which are no keys of the store, found and deleted.

Ray writes through the store's Arrow file system and names files as it likes, so that way is also the way out.
"""

from __future__ import annotations

from raymaas.errors import Unavailable
from raymaas.registry.layout import train_path, tune_path
from raymaas.store import Store


def ray_folders(store: Store, run_id: str) -> list[str]:
    """Paths in the store's Arrow file system under which Ray left files of that run. Raises Unavailable."""
    from pyarrow.fs import FileSelector

    filesystem, root = store.arrow_filesystem()
    paths = [f"{root}/{path}" for path in (train_path(run_id), tune_path(run_id))]

    def has_files(path: str) -> bool:
        # Files are what counts: an S3 server may go on showing folders of which nothing is left.
        found = filesystem.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
        return any(info.is_file for info in found)

    try:
        return [path for path in paths if has_files(path)]
    except OSError as error:
        raise Unavailable(f"what Ray left of {run_id} cannot be looked up: {error}; try again") from error


def delete_ray_folders(store: Store, run_id: str) -> None:
    """Afterwards Ray's files of that run are gone. Raises Unavailable when some may be left; then delete again."""
    filesystem, _ = store.arrow_filesystem()
    for path in ray_folders(store, run_id):
        try:
            filesystem.delete_dir(path)
        except OSError as error:
            raise Unavailable(f"{path} was not deleted whole: {error}; try again") from error

"""Feeds: batches are dealt out whole to any number of workers, from memory and from a stream's order of rows."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from raymaas.data.rows import Rows
from raymaas.data.transforms.fitted import Fitted, Transforms
from raymaas.errors import RunFailed
from raymaas.specs.datasets import Column, DatasetCard
from raymaas.train.feed import Deal, Held
from raymaas.train.streaming import _cut
from raymaas.train.stretches import StreamedRows
from raymaas.train.world import World


def world(rank: int, size: int) -> World:
    return World(rank, size, torch.device("cpu"), lambda tensor: tensor, lambda module: module)


def deals(size: int, *, batch_rows: int | None, pieces: int = 1) -> list[Deal]:
    return [Deal(batch_rows, pieces, world(rank, size)) for rank in range(size)]


def held(rows: int) -> Held:
    id_N = np.arange(rows)
    return Held(Rows(x_ND=id_N[:, None].astype(np.float32), y_N=id_N, id_N=id_N), torch.device("cpu"))


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("pieces", [1, 4])
@pytest.mark.parametrize("batch_rows", [7, 100, None])
def test_each_row_is_dealt_to_one_worker_once(size, pieces, batch_rows):
    feed = held(100)
    dealt = [list(feed.batches(deal, seed=3)) for deal in deals(size, batch_rows=batch_rows, pieces=pieces)]
    assert {len(batches) for batches in dealt} == {15 if batch_rows == 7 else 1}
    for together in zip(*dealt, strict=True):
        shards = [shard for batch in together for shard in batch.shards]
        covered = sorted(place for mine, _, _ in shards for place in range(mine.start, mine.stop))
        assert covered == list(range(together[0].rows))
    every = torch.cat([y_B for batches in dealt for batch in batches for _, _, y_B in batch.shards])
    assert sorted(every.tolist()) == list(range(100))


def test_a_batch_does_not_depend_on_the_number_of_workers():
    one = [batch.shards[0][2] for batch in held(50).batches(deals(1, batch_rows=8)[0], seed=1)]
    ranks = [held(50).batches(deal, seed=1) for deal in deals(2, batch_rows=8)]
    for alone, (first, second) in zip(one, zip(*ranks, strict=True), strict=True):
        assert torch.cat([first.shards[0][2], second.shards[0][2]]).tolist() == alone.tolist()


def test_the_sizes_of_batches_add_up():
    (deal,) = deals(1, batch_rows=8)
    assert deal.sizes(20) == [8, 8, 4]
    assert deal.sizes(16) == [8, 8]
    assert deals(1, batch_rows=None)[0].sizes(20) == [20]


def streamed_rows() -> StreamedRows:
    column = Column(name="x", type="number", shape=(2,))
    card = DatasetCard(name="d", fingerprint="0" * 64, rows=40, features=2, shape=(2,), classes=("a", "b"))
    return StreamedRows(
        store_url="memory://",
        card=card,
        transforms=Fitted(Transforms(inputs=(column,), steps=(), shape=(2,))),
        parts=[np.arange(9), np.arange(0, 20, 2), np.empty(0, np.int64), np.arange(7)],
    )


def rows_of(pieces) -> list[tuple[int, int]]:
    return [(piece.number, place) for piece in pieces for place in piece.position_N.tolist()]


@pytest.mark.parametrize("size", [1, 3, 5])
def test_what_ray_data_brings_is_cut_to_each_batchs_share(size):
    """Five workers: of 7 rows the third has one more than of 8."""
    for deal in deals(size, batch_rows=8):
        sizes = [deal.share(rows) for rows in deal.sizes(31)]
        tables = pa.table({"n": np.arange(sum(sizes))}).to_batches(max_chunksize=max(1, sizes[0]))
        cut = list(_cut(map(_as_table, tables), sizes))
        assert [0 if table is None else len(table) for table in cut] == sizes
        assert [n for table in cut if table for n in table["n"].to_pylist()] == list(range(sum(sizes)))
        with pytest.raises(RunFailed, match="lost rows"):
            list(_cut(map(_as_table, tables), [*sizes, 1]))


def _as_table(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])


def test_stretches_of_a_stream_are_one_order_cut_up():
    rows = streamed_rows()
    whole = rows_of(rows.stretch(0, 26, seed=5))
    assert len(set(whole)) == 26
    for cut in (0, 1, 9, 13, 25, 26):
        assert rows_of(rows.stretch(0, cut, seed=5)) + rows_of(rows.stretch(cut, 26, seed=5)) == whole


def test_a_streams_order_follows_from_its_seed():
    rows = streamed_rows()
    orders = [rows_of(rows.stretch(0, 26, seed=seed)) for seed in (5, 5, 6)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])
    assert [place for number, place in orders[0] if number == 0] != list(range(9))

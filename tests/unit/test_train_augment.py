"""Augmentation: what each does to a row, and that neither workers, pieces nor a resume change what is drawn."""

from functools import partial

import numpy as np
import pytest
import torch
from evaluation_examples import trained
from training_workers import Case, together

from raymaas.data.rows import Rows
from raymaas.data.sources.base import DataFiles
from raymaas.data.split import Parts
from raymaas.errors import InvalidInput
from raymaas.jobs.preparing import prepared
from raymaas.models import catalogue
from raymaas.registry.versions import Versions
from raymaas.specs.augment import Erase, Flip, Noise, Rotate, Shift
from raymaas.specs.jobs import Component, Training, TrainJob
from raymaas.store import LocalStore
from raymaas.train.augment import Augmenter
from raymaas.train.checkpoint import Checkpoint
from raymaas.train.loop import fit
from raymaas.train.world import World

ALL = (
    Shift(pixels=1),
    Flip(chance=0.5),
    Rotate(degrees=20),
    Noise(deviation=0.1),
    Erase(pixels=2, chance=0.5),
)
NETWORK = Component(use="mlp", config={"in_features": 30, "classes": 3, "hidden": [6]})


def some_rows(count: int, seed: int) -> Rows:
    draw = np.random.default_rng(seed)
    y_N = draw.integers(0, 3, count)
    x_NHW = draw.normal(size=(count, 5, 6)).astype(np.float32) + y_N[:, None, None]
    return Rows(x_ND=x_NHW.astype(np.float32), y_N=y_N, id_N=np.arange(count))


PARTS = Parts(train=some_rows(40, 0), validation=some_rows(15, 1), test=some_rows(3, 2), fingerprint="")


def augmented(x_B: torch.Tensor, *augment: object, seed: int = 1) -> torch.Tensor:
    return Augmenter(augment)(x_B, seed=seed, rows=len(x_B), mine=slice(0, len(x_B)))


def image(rows: int = 64) -> torch.Tensor:
    """Rows of 5 x 6 different numbers, the same in each row."""
    return torch.arange(1.0, 31).reshape(1, 5, 6).repeat(rows, 1, 1)


def test_a_shift_moves_rows_by_whole_pixels_in_every_direction_and_zeros_come_in():
    x_BHW = image()
    found = set()
    for moved_HW in augmented(x_BHW, Shift(pixels=1)):
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                wanted_HW = torch.zeros(5, 6)
                to = (slice(max(down, 0), 5 + min(down, 0)), slice(max(right, 0), 6 + min(right, 0)))
                source = (slice(max(-down, 0), 5 + min(-down, 0)), slice(max(-right, 0), 6 + min(-right, 0)))
                wanted_HW[to] = x_BHW[0][source]
                if torch.equal(moved_HW, wanted_HW):
                    found.add((down, right))
    assert len(found) == 9


def test_a_flip_takes_about_its_share_of_the_rows():
    x_BHW = image(400)
    flipped_B = (augmented(x_BHW, Flip(chance=0.25)) == x_BHW.flip(-1)).all(dim=(1, 2))
    assert 60 < int(flipped_B.sum()) < 140
    assert torch.equal(augmented(x_BHW, Flip(chance=1)), x_BHW.flip(-1))


def test_a_rotation_turns_about_the_middle_no_farther_than_it_says():
    spot_BHW = torch.zeros(200, 21, 41)
    spot_BHW[:, 10, 30] = 1.0  # ten pixels to the right of the middle
    turned_BHW = augmented(spot_BHW, Rotate(degrees=30))
    place_B = turned_BHW.flatten(1).argmax(dim=1)
    down_B, right_B = (place_B // 41 - 10).double(), (place_B % 41 - 20).double()
    angle_B = torch.rad2deg(torch.atan2(down_B, right_B))
    assert torch.hypot(down_B, right_B).sub(10).abs().max() < 1
    assert 25 < float(angle_B.max()) < 34
    assert -34 < float(angle_B.min()) < -25
    middle_BHW = torch.zeros(9, 5, 5)
    middle_BHW[:, 2, 2] = 1.0
    torch.testing.assert_close(
        augmented(middle_BHW, Rotate(degrees=180))[:, 2, 2], torch.ones(9), atol=1e-5, rtol=0
    )


def test_noise_has_its_deviation_and_leaves_images_in_their_range():
    x_BD = torch.zeros(500, 20)
    assert float(augmented(x_BD, Noise(deviation=3)).std()) == pytest.approx(3, rel=0.05)
    noisy_BHW = augmented(image(), Noise(deviation=3))
    assert not torch.equal(noisy_BHW, image())
    assert (float(noisy_BHW.min()), float(noisy_BHW.max())) == (1, 30)


def test_an_erased_square_is_zero_in_all_channels_and_whole():
    x_BCHW = image(300)[:, None].repeat(1, 2, 1, 1)
    erased_BCHW = augmented(x_BCHW, Erase(pixels=3, chance=0.5)) == 0
    counts = erased_BCHW.sum(dim=(2, 3))
    assert torch.equal(counts[:, 0], counts[:, 1])
    assert set(counts[:, 0].tolist()) == {0, 9}
    assert 100 < int((counts[:, 0] > 0).sum()) < 200
    assert erased_BCHW.any(dim=0).all(), "it may lie everywhere"
    kept_BCHW = torch.where(erased_BCHW, x_BCHW, augmented(x_BCHW, Erase(pixels=3, chance=0.5)))
    assert torch.equal(kept_BCHW, x_BCHW)


def test_a_part_of_a_batch_gets_what_it_gets_in_the_whole_and_its_rows_stay():
    x_BHW = torch.randn(12, 5, 6)
    before = x_BHW.clone()
    whole_BHW = augmented(x_BHW, *ALL)
    assert torch.equal(x_BHW, before)
    for mine in (slice(0, 5), slice(5, 12), slice(4, 4)):
        part_BHW = Augmenter(ALL)(x_BHW[mine], seed=1, rows=12, mine=mine)
        torch.testing.assert_close(part_BHW, whole_BHW[mine], rtol=0, atol=0)
    assert not torch.equal(whole_BHW, augmented(x_BHW, *ALL, seed=2))


def run(training: Training, **rest: object) -> Checkpoint:
    options = {"parts": PARTS, "world": World.single(), "clock": lambda: 0.0} | rest
    return fit(partial(catalogue.build, NETWORK), training, **options)


def training(**fields: object) -> Training:
    return Training(
        **(
            {"epochs": 4, "batch_size": 13, "learning_rate": 0.01, "augment": ALL, "deterministic": True}
            | fields
        )
    )


def test_several_workers_and_pieces_train_on_the_same_new_rows(tmp_path):
    alone = run(training())
    case = Case(NETWORK, training(), PARTS)
    in_pieces = Case(NETWORK, training(accumulate=3), PARTS)
    for many in together({"two": case, "in pieces": in_pieces}, size=2, folder=tmp_path).values():
        for one in many:
            for name, tensor in alone.weights.items():
                torch.testing.assert_close(one.weights[name], tensor, rtol=1e-4, atol=1e-5)
    plain = run(training(augment=()))
    assert plain.history[0].train_loss != pytest.approx(alone.history[0].train_loss, rel=1e-3)


def test_a_resumed_fit_ends_with_the_bits_of_an_uninterrupted_one():
    kept: list[Checkpoint] = []
    run(training(epochs=2), on_epoch=lambda report, checkpoint: kept.append(checkpoint))
    resumed = run(training(), resume=Checkpoint.from_files(kept[-1].to_files(), source="test"))
    straight = run(training())
    assert resumed.history == straight.history
    for name, tensor in straight.weights.items():
        assert torch.equal(resumed.weights[name], tensor)


def test_rows_are_new_in_every_step_and_those_validated_on_are_not():
    seen: dict[bool, list[torch.Tensor]] = {True: [], False: []}

    def watched() -> torch.nn.Module:
        network = catalogue.build(NETWORK)
        network.register_forward_pre_hook(lambda module, x: seen[module.training].append(x[0]))
        return network

    fit(
        watched,
        training(epochs=2, batch_size=40, augment=(Noise(deviation=1),)),
        parts=PARTS,
        world=World.single(),
    )
    epochs = [{tuple(row.flatten().tolist()) for row in x_BHW} for x_BHW in seen[True]]
    assert len(epochs) == 2
    assert not epochs[0] & epochs[1]
    validated = [x_BHW for x_BHW in seen[False] if len(x_BHW) == 15]
    assert len(validated) == 2
    for x_BHW in validated:
        np.testing.assert_array_equal(x_BHW.numpy(), PARTS.validation.x_ND)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {
                "data": {"use": "iris"},
                "training": {"augment": [{"use": "noise", "deviation": 1}, {"use": "flip"}]},
            },
            r"training\.augment\[1\] flip is for images, .* rows have the shape \[4\]",
        ),
        (
            {"data": {"use": "digits"}, "training": {"augment": [{"use": "shift", "pixels": 1}]}},
            r"training\.augment\[0\] shift is for images, .* rows have the shape \[64\]",
        ),
        (
            {
                "data": {"use": "python_help", "config": {"window": 64}},
                "split": {"test": "given"},
                "architecture": {"use": "gpt", "config": {"width": 16, "heads": 2, "depth": 1}},
                "training": {"augment": [{"use": "noise", "deviation": 1}]},
            },
            r"training\.augment\[0\] noise: rows of shape \[64\] are text, not numbers to change",
        ),
    ],
)
def test_what_such_rows_cannot_have_is_refused_before_anything_trains(tmp_path, fields, said):
    job = TrainJob.parse({"model": "m", "architecture": {"use": "logistic"}} | fields, source="job")
    with pytest.raises(InvalidInput, match=said):
        prepared(job, LocalStore(tmp_path), DataFiles())


def images(tmp_path, **training: object) -> dict[str, object]:
    rows = some_rows(90, 3)
    path = tmp_path / "images.npz"
    np.savez(path, x=rows.x_ND, y=rows.y_N)
    return {
        "model": "seen",
        "data": {"use": "npz", "config": {"path": str(path), "name": "images"}},
        "architecture": {"use": "mlp", "config": {"hidden": [4]}},
        "training": {"epochs": 1, **training},
    }


def test_a_square_as_large_as_the_image_is_refused(tmp_path):
    fields = images(tmp_path, augment=[{"use": "erase", "pixels": 5}])
    with pytest.raises(
        InvalidInput, match=r"\[0\] erase: 5 pixels leave nothing of rows of the shape \[5, 6\]"
    ):
        prepared(TrainJob.parse(fields, source="job"), LocalStore(tmp_path / "store"), DataFiles())


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"augment": [{"use": "shft", "pixels": 2}]}, r"training\.augment\.0: .*'shift', 'flip', 'rotate'"),
        ({"augment": [{"use": "shift", "pixls": 2}]}, "pixls: unknown field; did you mean 'pixels'"),
        ({"augment": [{"use": "rotate", "degrees": 0}]}, "greater than 0"),
        (
            {"augment": [{"use": "flip"}], "optimizer": "lbfgs"},
            "augment makes others of them; leave augment out",
        ),
    ],
)
def test_a_job_file_that_declares_it_wrongly_is_told_so(training, said):
    fields = {"model": "m", "data": {"use": "digits"}, "architecture": {"use": "mlp"}, "training": training}
    with pytest.raises(InvalidInput, match=said):
        TrainJob.parse(fields, source="job")


def test_the_version_says_what_was_done_to_its_training_rows(tmp_path):
    store = LocalStore(tmp_path / "store")
    augment = [{"use": "shift", "pixels": 1}, {"use": "flip"}]
    version = trained(store, images(tmp_path, augment=augment), "seen-1")
    kept = Versions(store).get("seen", version.version).lineage
    assert kept.job["training"]["augment"] == [{"use": "shift", "pixels": 1}, {"use": "flip", "chance": 0.5}]

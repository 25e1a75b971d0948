"""Fine-tuning against the labels and a teacher's answers, which is the parent unless a recipe names another.

G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network (2015): the loss is
alpha T^2 KL(teacher at temperature T || network at temperature T) + (1 - alpha) cross-entropy of the labels. For a
regressor both are squared errors. Rows without a label are learnt by the first term alone. What augmentation makes of
a row keeps its label, and the teacher is asked again. A network with a loss of its own keeps to that.
Legend: B rows of a batch, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss

from raymaas.compress.subject import Subject, answers_of
from raymaas.errors import RunFailed
from raymaas.models.networks import Classifier
from raymaas.train.augment import Augmenter

_FEW_STEPS = 1000  # of an optimizer; fewer teach a network of any size little
_MOST_STEPS = 1 << 20  # of an epoch, so that no two draw alike
_SEEDS = 1 << 63  # that torch's generators take


@dataclass(frozen=True)
class Steps:
    """What a pass does between the steps of a fine-tuning."""

    before_epoch: Callable[[int], None] = lambda epoch: None
    """Gets each epoch's number, from 0; it may tighten constraints."""
    before_step: Callable[[], None] = lambda: None
    """When the gradients of what is moved are there; it may change them."""
    after_step: Callable[[float], None] = lambda rate: None
    """Gets the learning rate of the step; it may change what was moved."""


def usual_epochs(subject: Subject, given: int | None, *, usual: int) -> int:
    """`given`; or, where a recipe leaves it open, `usual`, and on few rows more: as many as make `_FEW_STEPS`."""
    if given is not None:
        return given
    steps = math.ceil(len(subject.x_ND) / subject.fine_tuning.batch_size)
    return max(usual, math.ceil(_FEW_STEPS / steps))


def fine_tune(
    subject: Subject, *, epochs: int, learning_rate: float | None = None, steps: Steps = Steps()
) -> None:
    """Train the weights for `epochs`, through their constraints.

    The learning rate, the subject's where none is given, falls to 0 by a cosine, each call anew. Randomness is a
    function of the subject's seed and of the epochs it has seen. Raises RunFailed when the loss is no longer a number.
    """
    settings, weights = subject.fine_tuning, list(subject.weights.values())
    rate = settings.learning_rate if learning_rate is None else learning_rate
    optimizer = torch.optim.Adam([weight.moved for weight in weights], lr=rate, fused=True)
    total = epochs * math.ceil(len(subject.x_ND) / settings.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, total))
    with torch.random.fork_rng(devices=[]):
        for epoch in range(epochs):
            steps.before_epoch(epoch)
            seed = (subject.seed * 1_000_003 + subject.epochs_done) % _SEEDS
            torch.manual_seed(seed)  # of what a network draws while it trains
            order_N = torch.randperm(len(subject.x_ND), generator=torch.Generator().manual_seed(seed))
            loss_sum = 0.0
            for step, batch_B in enumerate(torch.split(order_N, settings.batch_size)):
                subject.network.zero_grad()
                loss = loss_of(subject, batch_B, drawn=(seed * _MOST_STEPS + step) % _SEEDS)
                loss.backward()  # type: ignore[no-untyped-call]
                for weight in weights:
                    weight.pull()
                steps.before_step()
                optimizer.step()
                steps.after_step(float(schedule.get_last_lr()[0]))
                schedule.step()
                for weight in weights:
                    weight.settle()
                loss_sum += float(loss.detach()) * len(batch_B)
            if not math.isfinite(loss_sum):
                raise RunFailed(
                    "the loss is no longer a number; lower fine_tuning.learning_rate, or that of the pass"
                )
            subject.epochs_done += 1


def loss_of(subject: Subject, batch_B: torch.Tensor, *, drawn: int | None = None) -> torch.Tensor:
    """What fine-tuning minimises, its mean over the rows of those numbers.

    They are augmented as the settings say by what the seed `drawn` gives; without one they are taken as they are.
    """
    x_B, settings, augmented = subject.x_ND[batch_B], subject.fine_tuning, False
    if settings.augment and drawn is not None:
        x_B, augmented = Augmenter(settings.augment)(x_B, seed=drawn, rows=len(x_B), mine=slice(None)), True
    given_B = subject.network(x_B)
    if subject.teacher is None or subject.taught_N is None:
        terms_BK: torch.Tensor = given_B
        return terms_BK.sum() / len(batch_B)
    taught_B = answers_of(subject.teacher, x_B) if augmented else subject.taught_N[batch_B]
    labelled_B = batch_B < len(subject.y_N)
    y_B, alpha = subject.y_N[batch_B[labelled_B]], settings.alpha
    if isinstance(subject.network, Classifier):
        soft = softened_divergence(given_B, taught_B, temperature=settings.temperature)
        hard = cross_entropy(given_B[labelled_B], y_B, reduction="sum") / len(batch_B)
    else:
        soft = mse_loss(given_B, taught_B)
        hard = mse_loss(given_B[labelled_B], y_B, reduction="sum") / len(batch_B)
    return alpha * soft + (1 - alpha) * hard


def softened_divergence(
    logits_BC: torch.Tensor, teacher_BC: torch.Tensor, *, temperature: float
) -> torch.Tensor:
    """The first term above without alpha, its mean over the batch."""
    # T^2 keeps the gradient's size when the temperature changes (section 2.1 of the paper).
    return temperature**2 * kl_div(
        log_softmax(logits_BC / temperature, dim=-1),
        log_softmax(teacher_BC / temperature, dim=-1),
        reduction="batchmean",
        log_target=True,
    )

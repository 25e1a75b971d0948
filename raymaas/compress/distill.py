"""Fine-tuning against the labels and the parent's own answers.

G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network (2015): the loss is
alpha T^2 KL(parent at temperature T || network at temperature T) + (1 - alpha) cross-entropy of the labels. For a
regressor both are squared errors. A network with a loss of its own keeps to that.
Legend: B rows of a batch, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss

from raymaas.compress.subject import Subject
from raymaas.errors import RunFailed
from raymaas.models.networks import Classifier
from raymaas.specs.compression import FineTuning


@dataclass(frozen=True)
class Steps:
    """What a pass does between the steps of a fine-tuning."""

    before_epoch: Callable[[int], None] = lambda epoch: None
    """Gets each epoch's number, from 0; it may tighten constraints."""
    before_step: Callable[[], None] = lambda: None
    """When the gradients of what is moved are there; it may change them."""
    after_step: Callable[[float], None] = lambda rate: None
    """Gets the learning rate of the step; it may change what was moved."""


def fine_tune(subject: Subject, *, epochs: int, steps: Steps = Steps()) -> None:
    """Train the weights for `epochs`, through their constraints.

    The learning rate falls to 0 by a cosine, each call anew. Randomness is a function of the subject's
    seed and of the epochs it has seen. Raises RunFailed when the loss is no longer a number.
    """
    settings, weights = subject.fine_tuning, list(subject.weights.values())
    optimizer = torch.optim.Adam([weight.moved for weight in weights], lr=settings.learning_rate, fused=True)
    total = epochs * math.ceil(len(subject.x_ND) / settings.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, total))
    with torch.random.fork_rng(devices=[]):
        for epoch in range(epochs):
            steps.before_epoch(epoch)
            seed = subject.seed * 1_000_003 + subject.epochs_done
            torch.manual_seed(seed)  # of what a network draws while it trains
            order_N = torch.randperm(len(subject.x_ND), generator=torch.Generator().manual_seed(seed))
            loss_sum = 0.0
            for batch_B in torch.split(order_N, settings.batch_size):
                subject.network.zero_grad()
                loss = loss_of(subject, batch_B)
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
                raise RunFailed("the loss is no longer a number; lower fine_tuning.learning_rate")
            subject.epochs_done += 1


def loss_of(subject: Subject, batch_B: torch.Tensor) -> torch.Tensor:
    """What fine-tuning minimises, its mean over the rows of those numbers."""
    given_B, settings = subject.network(subject.x_ND[batch_B]), subject.fine_tuning
    if subject.parent_N is None:
        terms_BK: torch.Tensor = given_B
        return terms_BK.sum() / len(batch_B)
    parent_B, y_B = subject.parent_N[batch_B], subject.y_N[batch_B]
    if isinstance(subject.network, Classifier):
        return distillation_loss(given_B, parent_B, y_B, settings)
    return settings.alpha * mse_loss(given_B, parent_B) + (1 - settings.alpha) * mse_loss(given_B, y_B)


def distillation_loss(
    logits_BC: torch.Tensor, parent_BC: torch.Tensor, y_B: torch.Tensor, settings: FineTuning
) -> torch.Tensor:
    """The loss above, its mean over the batch."""
    warmth = settings.temperature
    # T^2 keeps the gradient's size when the temperature changes (section 2.1 of the paper).
    soft = warmth**2 * kl_div(
        log_softmax(logits_BC / warmth, dim=-1),
        log_softmax(parent_BC / warmth, dim=-1),
        reduction="batchmean",
        log_target=True,
    )
    return settings.alpha * soft + (1 - settings.alpha) * cross_entropy(logits_BC, y_B)

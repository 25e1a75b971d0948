"""Fine-tuning against the labels and the parent's own answers.

G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network (2015): the loss is
alpha T^2 KL(parent at temperature T || network at temperature T) + (1 - alpha) cross-entropy of the labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from raymaas.compress.subject import Subject
from raymaas.errors import RunFailed
from raymaas.specs.compression import FineTuning


def fine_tune(
    subject: Subject, *, epochs: int, before_epoch: Callable[[int], None] = lambda epoch: None
) -> None:
    """Train the network for `epochs`; `before_epoch` gets each one's number, from 0, and may change the network.

    The learning rate falls to 0 by a cosine, each call anew. Randomness is a function of the subject's seed
    and of the epochs it has seen. Raises RunFailed when the loss is no longer a number.
    """
    settings = subject.fine_tuning
    optimizer = torch.optim.Adam(subject.network.parameters(), lr=settings.learning_rate, fused=True)
    steps = epochs * math.ceil(len(subject.y_N) / settings.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, steps))
    for epoch in range(epochs):
        before_epoch(epoch)
        shuffle = torch.Generator().manual_seed(subject.seed * 1_000_003 + subject.epochs_done)
        order_N = torch.randperm(len(subject.y_N), generator=shuffle)
        loss_sum = 0.0
        for batch_B in torch.split(order_N, settings.batch_size):
            optimizer.zero_grad()
            loss = distillation_loss(
                subject.network(subject.x_ND[batch_B]),
                subject.parent_logits_NC[batch_B],
                subject.y_N[batch_B],
                settings,
            )
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            loss_sum += float(loss.detach()) * len(batch_B)
        if not math.isfinite(loss_sum):
            raise RunFailed("the loss is no longer a number; lower fine_tuning.learning_rate")
        subject.epochs_done += 1


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

"""Stages: a subject between two passes, to be gone on from by every recipe that begins with the same ones.

What is learnt from is left out, since it is large and there already; it is put back from a subject that has done
nothing yet. Whoever goes on from a stage gets the very bits that carrying out the passes would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from raymaas.compress.passes.distill import Distill
from raymaas.compress.recipe import passes_of
from raymaas.compress.subject import Subject
from raymaas.specs.jobs import Component

_COPIES = 4  # of its weights, at most: the network, what an optimizer moves, what a mask saw, and the mask
_ROUNDED = 8  # rounding adds what it saw, what a file keeps, and of a codebook where each belongs, in 8 bytes


def stage_of(subject: Subject) -> Subject:
    """`subject` as it stands, without what it learns from; it shares its network, so write it down at once."""
    nothing = torch.empty(0)
    return replace(subject, x_ND=nothing, y_N=nothing, teacher=None, taught_N=None, teachers={}, transfer={})


def bytes_of(stage: Subject) -> int:
    """What a stage takes in memory, at most."""
    copies = _ROUNDED if stage.coded else _COPIES
    return copies * sum(int(tensor.nbytes) for tensor in stage.network.state_dict().values())


def go_on(stage: Subject, *, done: Sequence[Component], fresh: Subject) -> Subject:
    """The subject after the passes `done`, of which `stage` was kept; `fresh` is what they were carried out on."""
    subject = replace(
        stage,
        x_ND=fresh.x_ND,
        y_N=fresh.y_N,
        teacher=fresh.teacher,
        taught_N=fresh.taught_N,
        teachers=fresh.teachers,
        transfer=fresh.transfer,
    )
    for step in passes_of(done):
        if isinstance(step, Distill):
            step.teach(subject)
    return subject

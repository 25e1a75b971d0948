"""The same epochs as skorch and PyTorch Lightning take them, with nothing switched on that can be switched off."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from skorch import NeuralNetClassifier
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from raymaas.data.split import Parts


def with_skorch(network: Callable[[], nn.Module], data: Parts, *, epochs: int, batch: int) -> list[float]:
    """CPU seconds of each epoch."""
    net = NeuralNetClassifier(
        network(),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        batch_size=batch,
        iterator_train__shuffle=True,
        max_epochs=1,  # of each call
        train_split=None,
        verbose=0,
    ).initialize()
    x_N, y_N = np.array(data.train.x_ND), np.array(data.train.y_N)
    seconds = []
    for _ in range(epochs):
        begun = time.process_time()
        net.partial_fit(x_N, y_N)
        seconds.append(time.process_time() - begun)
    return seconds


def with_lightning(network: Callable[[], nn.Module], data: Parts, *, epochs: int, batch: int) -> list[float]:
    """CPU seconds of each epoch."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    watch = _Watch()
    rows = TensorDataset(torch.tensor(data.train.x_ND), torch.tensor(data.train.y_N))
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[watch],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that one process reads the rows: it is the fastest with one thread
        trainer.fit(_Module(network()), DataLoader(rows, batch_size=batch, shuffle=True))
    return watch.seconds


class _Module(lightning.LightningModule):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        x_B, y_B = batch
        return cross_entropy(self.network(x_B), y_B)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


class _Watch(Callback):
    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._begun = 0.0

    def on_train_epoch_start(self, *_: object) -> None:
        self._begun = time.process_time()

    def on_train_epoch_end(self, *_: object) -> None:
        self.seconds.append(time.process_time() - self._begun)

"""Serving a graph with ONNX Runtime, in float32 or 8-bit integers; on CPUs often far faster than eager PyTorch."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import onnxruntime

from raymaas.bundle.files import CODED, GRAPHS
from raymaas.bundle.hollow import filled
from raymaas.bundle.rmz.container import read
from raymaas.errors import IntegrityError, InvalidInput
from raymaas.specs.runtimes import RuntimeName
from raymaas.specs.versions import Signature

_CPU = "CPUExecutionProvider"


def provider_of(device: str) -> str:
    """What ONNX Runtime calls the device; a build for CPUs has none but theirs."""
    return _CPU if device == "cpu" else "CUDAExecutionProvider"


def can_use(device: str) -> bool:
    return provider_of(device) in onnxruntime.get_available_providers()


class OnnxRuntime:
    """One session with `threads` threads of its own, for the graph of the runtime called `name`.

    A hollow graph is filled from the coded weights among the files.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        *,
        name: RuntimeName = "onnx",
        signature: Signature,
        threads: int,
        device: str = "cpu",
    ) -> None:
        self.name = name
        graph = files[GRAPHS[name]]
        if CODED in files:
            graph = filled(graph, read(files[CODED]).tensors)
        self._outputs = [spec.name for spec in signature.outputs]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Idle threads would otherwise spin, taking the cores that other replicas and training need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # A graph may name files for its tensors. From bytes they are read relative to the working directory, even
        # up from it; from a folder that cannot be one, none is.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        try:
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=[provider_of(device), _CPU] if device != "cpu" else [_CPU]
            )
        except Exception as error:  # the binding's own exception classes have no common base but this
            raise IntegrityError(f"{GRAPHS[name]} cannot be loaded: {error}") from None

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        arrays = self._session.run(self._outputs, dict(inputs))
        return dict(zip(self._outputs, arrays, strict=True))

    def call(self, method: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        raise InvalidInput(f"method {method!r} is unknown; a graph answers `infer` only")

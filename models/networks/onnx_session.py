"""ONNX Runtime sessions on the CPU, single-threaded and deterministic."""

from __future__ import annotations

import onnxruntime


def open_session(path: str) -> onnxruntime.InferenceSession:
    """Single-threaded CPU session of a model.

    Parallel workers do not compete for cores, and the order of additions is fixed. A session may serve several threads.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

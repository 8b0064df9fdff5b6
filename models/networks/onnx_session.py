"""ONNX Runtime sessions as this project uses them: on the CPU, one thread, repeatable."""

from __future__ import annotations

import onnxruntime


def open_session(path: str) -> onnxruntime.InferenceSession:
    """Opens a model for the CPU with one thread, so that workers in parallel do not fight for cores.

    A session may be used by several threads at once. One thread also keeps the order of additions, and
    so the result, the same in every run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

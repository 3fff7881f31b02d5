"""Backends: the runtimes that execute an artifact. Importing this loads none of them."""

from harness.backends.base import Backend
from harness.backends.fake import FakeBackend
from harness.backends.inductor import InductorBackend
from harness.backends.onnx_runtime import OnnxRuntimeBackend
from harness.backends.openvino import OpenVinoBackend
from harness.backends.torch_eager import TorchBackend
from harness.registry import Registry

BACKENDS: Registry[Backend] = Registry("backend")
for _backend in (TorchBackend(), InductorBackend(), OnnxRuntimeBackend(), OpenVinoBackend(), FakeBackend()):
    BACKENDS.add(_backend.name, _backend)

__all__ = ["BACKENDS"]

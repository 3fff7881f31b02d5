"""What an OpenVINO artifact consists of: an ONNX file or OpenVINO's own format, and what passes ask of the runtime.

Standard library only: the measured process reads its artifact with this module.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.onnx_files import MODEL_FILE

IR_FILE = "model.xml"
IR_WEIGHTS_FILE = "model.bin"
SETTINGS_FILE = "runtime.json"
_FORMATS = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64", "u8": "int8", "i8": "int8",
            "u4": "int4", "i4": "int4", "i32": "int32", "i64": "int64", "boolean": "bool"}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What passes ask of the runtime, or know that it cannot tell.

    Attributes:
        precision: OpenVINO's name of the arithmetic's format, such as ``bf16``; empty to leave it to the option.
        weights: number formats that weights were compressed to, such as ``int4``; empty for none.
        quantize_activations: whether products with compressed weights may quantize their activations at every call.
        quantized: whether weights and activations are integers.
    """

    precision: str = ""
    weights: str = ""
    quantize_activations: bool = True
    quantized: bool = False


def read_settings(directory: Path) -> Settings:
    """Return what passes left for the runtime; the defaults where none left anything."""
    path = directory / SETTINGS_FILE
    return Settings(**json.loads(path.read_text())) if path.is_file() else Settings()


def write_settings(directory: Path, settings: Settings) -> None:
    """Leave settings for the runtime beside the model."""
    (directory / SETTINGS_FILE).write_text(json.dumps(asdict(settings), indent=1))


def model_file(directory: Path) -> Path:
    """Return the file to read: OpenVINO's own format where a pass wrote it, else the ONNX file."""
    own = directory / IR_FILE
    return own if own.is_file() else directory / MODEL_FILE


def ir_weights(model: Path) -> Counter[str]:
    """Return the bytes of a model's constants by number format; constants that share bytes count once."""
    places: dict[str, tuple[str, int]] = {}
    for layer in ElementTree.parse(model).iter("layer"):
        data = layer.find("data")
        if layer.get("type") == "Const" and data is not None:
            kind = data.get("element_type", "")
            places[data.get("offset", "")] = (_FORMATS.get(kind, kind), int(data.get("size", 0)))
    found: Counter[str] = Counter()
    for name, size in places.values():
        found[name] += size
    return found

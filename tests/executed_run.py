"""A run whose variants executed what the runtimes of FACTS do: fast, slow for a reason, and silent about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.schema import PassSpec, Step, Trial, Unmeasured
from tests.run_folder import BASELINE, PLAIN, Folder, Row, executed

FLAGS = ("avx2", "avx512_vnni", "avx512_bf16")
ORT = "onnxruntime"


def variant(name: str, backend: str, *passes: PassSpec) -> Trial:
    return Trial(name, "e", "net", backend, passes=passes, batch_size=4)


def executed_run(directory: Path) -> Path:
    """Write the run and return its folder."""
    plain = replace(PLAIN, name=ORT, backend=ORT)
    fp32 = executed(("Conv", "float32", "compute", 0.9), ("Add", "float32", "other", 0.1))
    static = executed(
        ("QLinearConv", "int8", "compute", 0.85), ("Add", "float32", "other", 0.05),
        ("QuantizeLinear", "int8", "conversion", 0.04), ("DequantizeLinear", "int8", "conversion", 0.06),
    )  # fmt: skip
    dynamic = executed(
        ("ConvInteger", "int8", "compute", 0.86), ("Mul", "float32", "other", 0.06),
        ("DynamicQuantizeLinear", "int8", "conversion", 0.05), ("Cast", "float32", "conversion", 0.03),
    )  # fmt: skip
    fp16 = executed(
        ("aten::mkldnn_convolution", "float32", "compute", 0.65), ("aten::copy_", "", "conversion", 0.35),
        fallbacks=("oneDNN has no float16 convolution here: 20 layers ran in float32",),
    )  # fmt: skip
    eager = executed(("aten::mkldnn_convolution", "float32", "compute", 0.88), ("aten::add_", "float32", "other", 0.12))
    silent = Unmeasured("the profiler of torch failed")
    rng = np.random.default_rng(3)
    targets = np.repeat(np.arange(10), 100)
    right = np.where(rng.random(1000) < 0.93, targets, (targets + 1) % 10)
    worse = np.where((targets == 6) & (rng.random(1000) < 0.2), 4, right)

    def row(trial: Trial, ms: float, **more: object) -> Row:
        own = more.pop("predicted", right)
        scores = (np.asarray(own) == targets).astype(float)
        return Row(trial, ms, list(scores), predicted=list(own), targets=list(targets), **more)  # type: ignore[arg-type, call-overload]

    return Folder(
        [
            row(BASELINE, 9.0, execution=eager),
            row(plain, 6.0, execution=fp32),
            row(
                variant("onnxruntime-static-int8", ORT, PassSpec("quantize.static-int8")), 2.0,
                execution=static, asked="int8", predicted=worse,
                steps=(Step("quantize.static-int8", 2.0, "21 of 21 quantized", 21, 21, 44_700_000, 11_300_000),),
            ),
            row(
                variant("onnxruntime-dynamic-int8", ORT, PassSpec("quantize.dynamic-int8")), 14.0,
                execution=dynamic, asked="int8",
                steps=(Step("quantize.dynamic-int8", 2.0, "20 of 21 quantized", 20, 21, 44_700_000, 11_300_000),),
            ),
            row(variant("torch-fp16", "torch", PassSpec("cast.float16")), 90.0, execution=fp16, asked="float16"),
            row(variant("torch-bf16", "torch", PassSpec("cast.bfloat16")), 9.0, execution=silent, asked="bfloat16"),
            row(replace(BASELINE, name="inductor", backend="inductor", role="plain"), 8.9, execution=eager),
        ],
        flags=FLAGS,
    ).write(directory)  # fmt: skip

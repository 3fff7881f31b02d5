"""Why a variant is not faster: a fixture for each rule, what makes it fall silent, and who speaks first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.codec import decode_record
from harness.evidence import Evidence, Versus
from harness.peaks import Arithmetic
from harness.schema import Artifact, Execution, Fidelity, PassSpec, Record, Status, Step, Trial, Unmeasured
from harness.why import Finding, expected, explain
from harness.why_rules import RULES
from tests.executed_run import executed_run
from tests.run_folder import executed
from tests.test_peaks import PEAKS

X86 = frozenset({"avx2", "avx512f"})
VNNI = X86 | {"avx512_vnni"}
BF16 = X86 | {"avx512_bf16"}
FP32 = executed(("Conv", "float32", "compute", 0.9), ("Add", "float32", "other", 0.1))


def record(
    name: str, backend: str, *passes: PassSpec, asked: str = "float32", ran: Any = FP32, steps: tuple[Step, ...] = ()
) -> Record:
    role: Any = "variant" if passes else "plain"
    return Record(
        "r",
        Trial(name, "e", "net", backend, passes=passes, role=role),
        Status.OK,
        "h",
        "",
        artifact=Artifact("k", "f", {}, 1, 1, steps, Fidelity.RUNTIME, {}),
        actual={"requested_precision": asked},
        execution=ran,
    )


def versus(
    ratio: float, verdict: str = "", name: str = "plain", backend: str = "onnxruntime", ran: Any = FP32, **known: Any
) -> Versus:
    said = verdict or ("slower" if ratio < 0.98 else "same" if ratio < 1.02 else "faster")
    return Versus(record(name, backend, ran=ran), ratio, 0.99 * ratio, 1.01 * ratio, said, **known)


def evidence(
    ran: Any, *passes: str | PassSpec, backend: str = "onnxruntime", ratio: float = 0.8, **known: Any
) -> Evidence:
    """Return a variant that is slower than its own engine's plain row."""
    specs = tuple(p if isinstance(p, PassSpec) else PassSpec(p) for p in passes)
    own = {key: known.pop(key) for key in ("asked", "steps") if key in known}
    made = record("variant", backend, *specs, ran=ran, **own)
    return Evidence(made, **{"engine": versus(ratio, backend=backend), **known})


def said(e: Evidence) -> tuple[str, str]:
    found = explain(e)
    assert found is not None
    return found.rule, found.sentence


CONV_INTEGER = executed(
    ("ConvInteger", "int8", "compute", 0.92), ("Mul", "float32", "other", 0.05), ("Cast", "", "conversion", 0.03)
)


def test_conv_integer_has_no_fast_kernel() -> None:
    assert said(evidence(CONV_INTEGER, "quantize.dynamic-int8", asked="int8", ratio=0.3, flags=VNNI)) == (
        "conv-integer",
        "92 % of the operators' time is in ConvInteger, for which ONNX Runtime has no fast kernel: dynamic INT8 suits "
        "matrix products, not convolutions",
    )


def test_by_count_nothing_is_said_of_time() -> None:
    counted = replace(CONV_INTEGER, basis="count")
    assert said(evidence(counted, "quantize.dynamic-int8", asked="int8"))[1].startswith(
        "92 % of the operator runs is in ConvInteger"
    )


EMULATED = executed(("conv", "float32", "compute", 0.6), ("Cast", "", "conversion", 0.4))


def test_a_cpu_without_the_instruction_is_named_with_the_casts_it_costs() -> None:
    assert said(evidence(EMULATED, "cast.float16", asked="float16", ratio=0.04, flags=X86)) == (
        "no-arithmetic",
        "this CPU has no float16 arithmetic (it lacks avx512_fp16), and conversions take 40 % of the operators' time",
    )
    # The flag alone is proof enough, whether or not the runtime told what it ran.
    silent = evidence(Unmeasured("no profiler"), "cast.bfloat16", asked="bfloat16", flags=X86)
    assert said(silent) == (
        "no-arithmetic",
        "this CPU has no bfloat16 arithmetic (it lacks avx512_bf16 and amx_bf16)",
    )


def test_flags_that_are_unknown_or_of_another_processor_prove_nothing() -> None:
    for flags in (frozenset(), frozenset({"asimd", "bf16"})):
        rule, _ = said(evidence(Unmeasured("x"), "cast.bfloat16", asked="bfloat16", flags=flags))
        assert rule == "unexplained"


def test_a_runtime_that_casts_float16_to_float32_and_back() -> None:
    rule, sentence = said(evidence(EMULATED, "cast.float16", asked="float16", flags=X86 | {"avx512_fp16"}))
    assert rule == "emulated-float16"
    assert "100 % of the computing operators run in float32" in sentence
    assert "conversions there and back take 40 % of the operators' time" in sentence


SIGNED = executed(("QLinearConv", "int8", "compute", 0.8), ("QuantizeLinear", "int8", "conversion", 0.2))


def test_signed_activations_miss_the_fast_kernels() -> None:
    s8s8 = PassSpec("quantize.static-int8", {"activations": "int8"})
    rule, sentence = said(evidence(SIGNED, s8s8, asked="int8", ratio=1.2, flags=VNNI))  # faster, and below 1.5
    assert rule == "signed-activations"
    assert sentence == (
        "activations are signed (S8S8), and the fast x86 kernels (avx512_vnni) take unsigned ones: 80 % of the "
        "operators' time is in such products (QLinearConv 80 %); use activations=uint8"
    )
    unfused = executed(
        ("Conv", "float32", "compute", 0.4), ("DequantizeLinear", "int8", "conversion", 0.45),
        ("QLinearConv", "int8", "compute", 0.15),
    )  # fmt: skip
    assert said(evidence(unfused, s8s8, asked="int8", ratio=0.5, flags=VNNI))[1] == (
        "activations are signed (S8S8), and the fast x86 kernels (avx512_vnni) take unsigned ones: 73 % of the "
        "computing operators still run in float32, and conversions take 45 % of the operators' time; use "
        "activations=uint8"
    )
    u8s8 = PassSpec("quantize.static-int8", {"activations": "uint8"})
    assert said(evidence(SIGNED, u8s8, asked="int8", ratio=1.2, flags=VNNI))[0] == "conversions"
    assert said(evidence(SIGNED, s8s8, asked="int8", flags=VNNI, backend="openvino"))[0] == "conversions"


def test_eager_int8_restores_the_values_operator_by_operator() -> None:
    ran = executed(
        ("aten::mm", "float32", "compute", 0.45), ("aten::mul", "", "other", 0.35), ("aten::to", "", "conversion", 0.2)
    )
    rule, sentence = said(evidence(ran, "quantize.weight-only-int8", asked="int8 weights", backend="torch"))
    assert rule == "eager-integers"
    assert sentence.startswith(
        "eager PyTorch multiplies in float32 (100 % of the computing time) and restores the int8"
    )
    assert "55 % of the operators' time (aten::mul 35 %, aten::to 20 %)" in sentence
    assert said(evidence(ran, "quantize.static-int8", asked="int8", backend="inductor"))[0] != "eager-integers"


def test_a_silent_fallback_is_named_with_what_ran_instead() -> None:
    ran = replace(FP32, fallbacks=("the CPU plugin has no int8 Conv of this shape",))
    assert said(evidence(ran, "quantize.static-int8", asked="int8", flags=VNNI)) == (
        "fallback",
        "nothing ran in int8: float32 100 % of the computing operators (Conv 90 %); the CPU plugin has no int8 Conv of "
        "this shape",
    )
    unknown = executed(("MatMul", "", "compute", 1.0))
    assert said(evidence(unknown, "quantize.static-int8", asked="int8", flags=VNNI))[0] != "fallback"


def test_weights_that_are_expanded_before_each_product() -> None:
    ran = executed(("MatMul", "float32", "compute", 0.7), ("DequantizeLinear", "", "conversion", 0.3))
    assert said(evidence(ran, "quantize.weight-only-int8", asked="int8 weights")) == (
        "expanded-weights",
        "the int8 weights are expanded at every call, which takes 30 % of the operators' time (DequantizeLinear 30 %), "
        "and the products run in float32",
    )


def test_weights_alone_save_no_arithmetic() -> None:
    rule, sentence = said(evidence(FP32, "quantize.weight-only-int4", asked="int4 weights", bound="arithmetic"))
    assert rule == "weights-are-no-limit"
    assert sentence == (
        "only the weights are int4: 100 % of the computing operators still multiply in float32, and a call is bound by "
        "arithmetic"
    )


def test_weights_that_are_unpacked_inside_the_product_save_reading_only() -> None:
    packed = executed(("MatMulNBits", "int4", "compute", 0.9), ("Add", "float32", "other", 0.1))
    known = {"asked": "int4 weights"}
    assert said(evidence(packed, "quantize.weight-only-int4", bound="arithmetic", **known)) == (
        "weights-are-no-limit",
        "packed weights save reading (MatMulNBits 90 %), and a call is bound by arithmetic",
    )
    assert said(evidence(packed, "quantize.weight-only-int4", **known))[0] == "unexplained"


def test_unstructured_zeros_are_multiplied_by_dense_kernels() -> None:
    rule, sentence = said(evidence(FP32, "prune.unstructured-magnitude"))
    assert (rule, sentence) == (
        "unstructured-zeros",
        "dense kernels multiply the zeros like any number: 90 % of the operators' time (Conv 90 %)",
    )
    sparse = executed(("sparse_mm", "float32", "compute", 1.0))
    assert said(evidence(sparse, "prune.unstructured-magnitude"))[0] != "unstructured-zeros"


HALF = executed(("matmul", "bfloat16", "compute", 0.9), ("add", "float32", "other", 0.1))


def test_a_peak_that_is_not_above_the_format_before() -> None:
    arithmetic = (
        Arithmetic("float32", 165e9, "torch.matmul", 1024),
        Arithmetic("bfloat16", 85e9, "torch.matmul", 1024),
    )
    slow = replace(PEAKS, arithmetic=arithmetic)
    known = {"asked": "bfloat16", "flags": BF16}
    assert said(evidence(HALF, "cast.bfloat16", peaks=slow, **known)) == (
        "low-peak",
        "this CPU multiplies bfloat16 at 0.515× the rate of float32 (measured peaks 85.0 GFLOP/s and 165 GFLOP/s)",
    )
    fast = replace(PEAKS, arithmetic=(arithmetic[0], replace(arithmetic[1], flops_per_s=300e9)))
    casting = executed(("matmul", "bfloat16", "compute", 0.8), ("aten::_to_copy", "float32", "conversion", 0.2))
    assert said(evidence(casting, "cast.bfloat16", peaks=slow, **known))[1].endswith(
        "85.0 GFLOP/s and 165 GFLOP/s), and conversions take 20 % of the operators' time"
    )
    for peaks in (fast, None, replace(PEAKS, arithmetic=arithmetic[:1])):
        assert said(evidence(HALF, "cast.bfloat16", peaks=peaks, **known))[0] == "unexplained"


def test_a_model_too_small_for_its_operators_to_matter() -> None:
    ran = replace(HALF, outside_share=0.7)
    assert said(evidence(ran, "cast.bfloat16", asked="bfloat16", flags=BF16)) == (
        "outside-operators",
        "70 % of a call passes outside the operators (dispatch, Python, copies): at batch 1 the model is too small for "
        "this to show",
    )


def test_conversions_that_dominate() -> None:
    ran = executed(
        ("QLinearConv", "int8", "compute", 0.66), ("QuantizeLinear", "int8", "conversion", 0.18),
        ("DequantizeLinear", "int8", "conversion", 0.16),
    )  # fmt: skip
    assert said(evidence(ran, "quantize.static-int8", asked="int8")) == (
        "conversions",
        "conversions take 34 % of the operators' time (QuantizeLinear 18 %, DequantizeLinear 16 %)",
    )
    assert said(evidence(replace(ran, basis="count"), "quantize.static-int8", asked="int8"))[0] == "unexplained"


def test_a_technique_that_reached_little_says_what_could_be_gained_at_most() -> None:
    ran = executed(
        ("Conv", "float32", "compute", 0.8), ("QGemm", "int8", "compute", 0.1), ("Add", "float32", "other", 0.1),
        outside_share=0.2,
    )  # fmt: skip
    steps = (Step("quantize.dynamic-int8", 1.0, "", 1, 21),)
    rule, sentence = said(evidence(ran, "quantize.dynamic-int8", asked="int8", steps=steps, ratio=0.99))
    assert rule == "reached-little"
    # Of a call, 0.1 × 0.8 is the technique's: 0.99 / 0.92.
    assert sentence == (
        "quantize.dynamic-int8 reached 1 of 21 layers, and 11 % of the computing time is int8: if that took none at "
        "all, a call would be 1.08× as fast as in plain at most"
    )
    unknown = evidence(Unmeasured("no profiler"), "quantize.dynamic-int8", asked="int8", steps=steps)
    assert said(unknown) == ("reached-little", "quantize.dynamic-int8 reached 1 of 21 layers")


def test_a_compiled_model_that_falls_apart() -> None:
    ran = replace(FP32, graph_breaks=3, recompiles=1)
    rule, sentence = said(evidence(ran, backend="inductor", engine=None, baseline=versus(0.9, backend="torch")))
    assert (rule, sentence) == (
        "graph-breaks",
        "the compiled model has 3 graph breaks and 1 recompilation: what lies between runs as in eager PyTorch",
    )


def test_compiled_and_eager_call_the_same_library() -> None:
    baseline = versus(1.0, name="torch", backend="torch")
    rule, sentence = said(evidence(FP32, backend="inductor", engine=None, baseline=baseline))
    assert rule == "same-kernels"
    assert sentence == (
        "90 % of the operators' time is in convolutions and matrix products, for which compiled and eager PyTorch call "
        "the same library (oneDNN, MKL); without all the rest a call would be 1.23× as fast as in torch at most"
    )
    # A package tells no times: those of the same calls in eager PyTorch count, 1 / (0.9 × 0.9).
    package = executed(
        ("mkldnn_convolution", "float32", "compute", 0.3), ("cpp_fused_relu_1", "float32", "other", 0.7), basis="count"
    )
    rule, sentence = said(evidence(package, backend="inductor", engine=None, baseline=baseline))
    assert rule == "same-kernels"
    assert sentence.startswith("90 % of the operators' time in torch is in convolutions and matrix products")
    assert sentence.endswith("a call would be 1.23× as fast as in torch at most")
    own = executed(("cpp_gemm_1", "float32", "compute", 1.0))
    assert said(evidence(own, backend="inductor", engine=None, baseline=baseline))[0] == "unexplained"
    other = versus(1.0, name="ort", backend="onnxruntime")
    assert said(evidence(FP32, backend="inductor", engine=None, baseline=other))[0] == "unexplained"


def test_a_call_bound_by_memory_that_reads_as_much_as_before() -> None:
    steps = (Step("cast.x", 1.0, "", 4, 4, 44_700_000, 44_100_000),)
    rule, sentence = said(evidence(FP32, "cast.x", steps=steps, bound="memory"))
    assert (rule, sentence) == (
        "memory-bound",
        "a call is bound by memory, and there is no less to read: 44.7 MB before, 44.1 MB after",
    )
    assert said(evidence(FP32, "cast.x", bound="memory"))[0] == "unexplained"


def test_overhead_by_the_roofline() -> None:
    rule, sentence = said(evidence(FP32, "fuse.x", bound="overhead", limit_share=0.04))
    assert rule == "overhead"
    assert "a call reaches 4 % of what the hardware allows" in sentence


def test_training_is_no_technique_for_speed() -> None:
    rule, _ = said(evidence(FP32, "train.finetune", ratio=1.0))
    assert rule == "only-trained"
    assert said(evidence(FP32, "prune.channels", "train.finetune", ratio=1.0))[0] == "unexplained"


def test_without_a_rule_the_operators_are_named_whose_time_did_not_shrink() -> None:
    plain = versus(1.0, name="ort", call_s=0.010)
    e = evidence(FP32, "fuse.x", engine=plain, call_s=0.010)
    assert said(e) == (
        "unexplained",
        "no rule explains it: Conv takes 8.10 ms of a call, 8.10 ms in ort, Add takes 900 µs of a call, 900 µs in ort",
    )
    assert said(replace(e, call_s=None)) == (
        "unexplained",
        "no rule explains it; the biggest of its operators: Conv 90 %, Add 10 %",
    )


def test_without_a_profile_no_reason_is_made_up() -> None:
    e = evidence(Unmeasured("the profiler failed"), "fuse.x")
    assert said(e) == (
        "unexplained",
        "what it executed is not known (the profiler failed), so no reason can be proven",
    )


# -- who is asked, and what is compared ---------------------------------------------------------------------------


def test_an_inconclusive_comparison_gets_no_reason() -> None:
    undecided = versus(0.97, "inconclusive", name="ort", reason="interval of ±5 % crosses the margin")
    found = explain(evidence(CONV_INTEGER, "quantize.dynamic-int8", asked="int8", engine=undecided))
    assert found == Finding(
        "undecided",
        "the data do not decide whether it is faster than ort (interval of ±5 % crosses the margin)",
        "ort",
        0.97,
    )


def test_what_is_faster_than_both_and_as_fast_as_expected_needs_no_reason() -> None:
    e = evidence(SIGNED, "quantize.static-int8", asked="int8", ratio=2.0, flags=VNNI, baseline=versus(4.0))
    assert explain(e) is None
    assert explain(evidence(HALF, ratio=0.5, engine=None)) is None  # nothing to compare with


@pytest.mark.parametrize(
    ("asked", "passes", "flags", "factor"),
    [
        ("int8", ["quantize.static-int8"], VNNI, 1.5),
        ("int8", ["prune.channels", "quantize.dynamic-int8"], VNNI, 1.5),
        ("int8", ["quantize.static-int8"], X86, 0.0),  # without the instruction nothing is expected
        ("int8 weights", ["quantize.weight-only-int8"], VNNI, 0.0),
        ("bfloat16", ["cast.bfloat16"], BF16, 1.2),
        ("float32", ["prune.channels"], VNNI, 0.0),
    ],
)
def test_expectations_hold_for_a_technique_on_a_cpu_that_can(
    asked: str, passes: list[str], flags: frozenset[str], factor: float
) -> None:
    assert expected(evidence(FP32, *passes, asked=asked, flags=flags)) == factor


def test_less_than_expected_is_judged_by_the_whole_interval() -> None:
    wide = replace(versus(1.3), low=1.1, high=1.6)
    known = {"asked": "int8", "flags": VNNI}
    assert explain(evidence(SIGNED, "quantize.static-int8", engine=wide, **known)) is None
    assert explain(evidence(SIGNED, "quantize.static-int8", ratio=1.3, **known)) is not None


def test_a_technique_that_pays_on_an_engine_that_does_not() -> None:
    e = evidence(SIGNED, "quantize.static-int8", engine=versus(2.0, name="ort"), baseline=versus(0.8, name="torch"))
    assert explain(e) == Finding(
        "slow-engine", "it gains 2.00× over ort, which by itself is only 0.400× as fast as torch", "torch", 0.8
    )


def test_every_rule_is_silent_where_nothing_is_known() -> None:
    e = evidence(Unmeasured("nobody asked"), "fuse.x").facing(versus(0.8))
    assert [rule.name for rule in RULES if rule.explain(e)] == []
    empty = replace(e, record=replace(e.record, execution=Execution("p", "time", 1, (), Unmeasured("x"))))
    assert [rule.name for rule in RULES if rule.explain(empty)] == []


def test_every_rule_has_its_own_name_and_says_what_it_looks_for() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.explain.__doc__ for rule in RULES)


# -- from the files -----------------------------------------------------------------------------------------------


def test_a_run_says_for_each_variant_why_it_is_not_faster(tmp_path: Path) -> None:
    frame = harness.load(executed_run(tmp_path / "run")).set_index("trial")
    rules = {name: rule for name, rule in frame["why_rule"].items() if isinstance(rule, str)}
    assert rules == {
        "onnxruntime-dynamic-int8": "conv-integer",
        "torch-fp16": "no-arithmetic",
        "torch-bf16": "unexplained",
        "inductor": "same-kernels",
    }
    row = frame.loc["onnxruntime-dynamic-int8"]
    assert (row["why_against"], row["why_ratio"]) == ("onnxruntime", pytest.approx(6 / 14, rel=0.01))
    assert row["why"].startswith("86 % of the operators' time is in ConvInteger")


def test_records_of_older_versions_say_that_nobody_asked() -> None:
    golden = Path(__file__).parent / "golden" / "record-v2.jsonl"
    old = decode_record(golden.read_text().splitlines()[0])
    found = explain(Evidence(old, baseline=versus(0.5)))
    assert found is not None
    assert "version 2 did not ask the runtime" in found.sentence

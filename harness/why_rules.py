"""The rules that explain why a variant is not faster: each looks at the evidence and says one sentence, or None.

They are asked in the order of ``RULES``, the most particular first, and the first that knows an answer gives it. A
sentence rests on what was executed and measured in this very run; what a rule knows beside that is documented in
docs/measurement.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness import units
from harness.evidence import Evidence, listed, part
from harness.execution import by_name, is_partial, reached
from harness.peaks import operations
from harness.schema import Unmeasured

DOMINATES = 0.2  # of the operators' time
MOST = 0.5
SOME = 0.1
NOTHING = 0.005
HIGHER_PEAK = 1.15  # a peak that is less above another is none to gain from
SHRUNK = 0.9


@dataclass(frozen=True)
class Rule:
    """A reason why something is not faster: its name, and how to see that it applies."""

    name: str
    explain: Callable[[Evidence], str | None]


def only_trained(e: Evidence) -> str | None:
    """Training changes the weights and nothing else."""
    if not e.passes or not all(name.startswith("train.") for name in e.passes):
        return None
    return "training changes the weights, not what is computed: no speed was to be gained"


def conv_integer(e: Evidence) -> str | None:
    """Dynamic INT8 convolutions in ONNX Runtime: ConvInteger is slower than the FP32 convolution."""
    if e.ran is None:
        return None
    share = sum(s for name, s in by_name(e.ran).items() if name.startswith("ConvInteger"))
    if share < DOMINATES:
        return None
    return (
        f"{part(e.ran, share)} is in ConvInteger, for which ONNX Runtime has no fast kernel: "
        "dynamic INT8 suits matrix products, not convolutions"
    )


def no_arithmetic(e: Evidence) -> str | None:
    """The CPU has no instruction that multiplies in the format."""
    lacking = e.lacks(e.asked)
    if not lacking or e.weights_only:
        return None
    return _with_casts(f"this CPU has no {e.asked} arithmetic (it lacks {' and '.join(lacking)})", e)


def emulated_float16(e: Evidence) -> str | None:
    """The runtime computes float16 operators in float32, with casts before and after."""
    if e.ran is None or e.asked != "float16":
        return None
    casts = e.ran.share("conversion")
    wide = e.ran.formats.get("float32", 0.0)
    if wide < MOST or casts < NOTHING:
        return None
    return (
        f"the runtime has few float16 kernels: {units.percent(wide, 0)} of the computing operators run in float32, "
        f"and conversions there and back take {part(e.ran, casts)}"
    )


def signed_activations(e: Evidence) -> str | None:
    """Signed activations with signed weights (S8S8) in ONNX Runtime on x86, whose fast kernels take U8S8."""
    asked = any(
        s.name == "quantize.static-int8" and s.params.get("activations") == "int8" for s in e.record.trial.passes
    )
    fast = sorted(e.flags.intersection({"avx512_vnni", "avx_vnni"}))
    if not asked or not fast or e.record.trial.backend != "onnxruntime" or e.ran is None:
        return None
    integers = {o.name: o.share for o in e.ran.operators if o.kind == "compute" and o.format == "int8"}
    if not integers:
        return None
    floats = e.ran.formats.get("float32", 0.0)
    if floats >= MOST:  # most layers were not fused into integer operators at all
        cost = _with_casts(f"{units.percent(floats, 0)} of the computing operators still run in float32", e)
    else:
        cost = f"{part(e.ran, sum(integers.values()))} is in such products ({listed(integers)})"
    return (
        f"activations are signed (S8S8), and the fast x86 kernels ({fast[0]}) take unsigned ones: {cost}; "
        "use activations=uint8"
    )


def eager_integers(e: Evidence) -> str | None:
    """Eager PyTorch has no INT8 product: values are restored by operators of their own, then multiplied as floats."""
    if e.timed is None or e.record.trial.backend != "torch" or not e.asked.startswith("int"):
        return None
    around = e.timed.share("conversion") + e.timed.share("other")
    floats = sum(s for name, s in e.timed.formats.items() if not name.startswith("int"))
    if floats < MOST or around < DOMINATES:
        return None
    names = {o.name: o.share for o in e.timed.operators if o.kind != "compute"}
    return (
        f"eager PyTorch multiplies in {next(iter(e.timed.formats))} ({units.percent(floats, 0)} of the computing time) "
        f"and restores the {e.asked} values before, operator by operator: {part(e.timed, around)} ({listed(names)})"
    )


def fallback(e: Evidence) -> str | None:
    """Nothing ran in the format that was asked for."""
    if e.ran is None or e.weights_only or e.asked == "float32" or not e.ran.formats or "" in e.ran.formats:
        return None
    if e.ran.formats.get(e.asked, 0.0) >= NOTHING:
        return None
    why = f"; {e.ran.fallbacks[0]}" if e.ran.fallbacks else ""
    compute = by_name(e.ran, "compute")
    return f"nothing ran in {e.asked}: {listed(e.ran.formats)} of the computing operators ({listed(compute)}){why}"


def expanded_weights(e: Evidence) -> str | None:
    """Weight-only formats that are expanded to floats at run time, before each product."""
    if e.timed is None or not e.weights_only:
        return None
    restoring = e.timed.share("conversion")
    floats = sum(s for name, s in e.timed.formats.items() if not name.startswith("int"))
    if restoring < SOME or floats < MOST:
        return None
    return (
        f"the {e.asked} weights are expanded at every call, which takes {part(e.timed, restoring)} "
        f"({listed(by_name(e.timed, 'conversion'))}), and the products run in {next(iter(e.timed.formats))}"
    )


def unstructured_zeros(e: Evidence) -> str | None:
    """Zeros that stand anywhere are stored and multiplied like other numbers."""
    if e.ran is None or not any(name.startswith("prune.unstructured") for name in e.passes):
        return None
    dense = {name: s for name, s in by_name(e.ran, "compute").items() if "sparse" not in name.lower()}
    if sum(dense.values()) < MOST * e.ran.share("compute"):
        return None
    return f"dense kernels multiply the zeros like any number: {part(e.ran, sum(dense.values()))} ({listed(dense)})"


def low_peak(e: Evidence) -> str | None:
    """The kernels exist, but the CPU's measured peak in the format is not above that of the format before."""
    if e.ran is None or e.peaks is None or e.weights_only or e.ran.formats.get(e.asked, 0.0) < MOST:
        return None
    before = "float32" if e.reference_ran is None else next(iter(e.reference_ran.formats), "float32")
    own, other = e.peaks.of(e.asked), e.peaks.of(before)
    if before == e.asked or own is None or other is None or own.flops_per_s >= HIGHER_PEAK * other.flops_per_s:
        return None
    rates = [units.rate(peak.flops_per_s, operations(peak.format)) for peak in (own, other)]
    times = units.ratio(own.flops_per_s / other.flops_per_s)
    return _with_casts(
        f"this CPU multiplies {e.asked} at {times} the rate of {before} (measured peaks {rates[0]} and {rates[1]})", e
    )


def outside_operators(e: Evidence) -> str | None:
    """Most of a call is dispatch, Python and copies: too small a model or batch."""
    if e.outside is None or e.outside < MOST:
        return None
    return (
        f"{units.percent(e.outside, 0)} of a call passes outside the operators (dispatch, Python, copies): at batch "
        f"{e.record.trial.batch_size} the model is too small for this to show"
    )


def conversions(e: Evidence) -> str | None:
    """Changing number formats and layouts eats what the products gain."""
    if e.timed is None or e.timed.share("conversion") < DOMINATES:
        return None
    share = e.timed.share("conversion")
    return f"conversions take {part(e.timed, share)} ({listed(by_name(e.timed, 'conversion'))})"


def reached_little(e: Evidence) -> str | None:
    """The technique touched a part of the model only, so little can be gained (Amdahl 1967)."""
    if e.weights_only or e.asked == "float32":
        return None
    partial = next((reached(s) for s in e.steps if is_partial(s) and s.layers < MOST * s.of), "")  # type: ignore[operator]
    share = None if e.ran is None else e.ran.formats.get(e.asked, 0.0)
    if share is None or e.timed is None or e.against is None:
        return partial or None
    if share >= MOST and not partial:
        return None
    touched = share * e.timed.share("compute") * (1 - (e.outside or 0.0))
    if touched > 1 - NOTHING:
        return partial or None
    most = units.ratio(e.against.ratio / (1 - touched))
    sentence = (
        f"{units.percent(share, 0)} of the computing time is {e.asked}: if that took none at all, a call would be "
        f"{most} as fast as in {e.against.name} at most"
    )
    return f"{partial}, and {sentence}" if partial else sentence


def weights_are_no_limit(e: Evidence) -> str | None:
    """Smaller weights save reading, not arithmetic."""
    if not e.weights_only or e.ran is None:
        return None
    floats = {name: s for name, s in e.ran.formats.items() if name and not name.startswith("int")}
    arithmetic = e.bound == "arithmetic"
    if sum(floats.values()) >= MOST:
        bound = ", and a call is bound by arithmetic" if arithmetic else ""
        return (
            f"only the weights are {e.asked}: {units.percent(sum(floats.values()), 0)} of the computing operators "
            f"still multiply in {next(iter(floats))}{bound}"
        )
    # Products that unpack their weights themselves are told under the weights' format.
    if not arithmetic or e.ran.formats.get(e.asked, 0.0) < MOST:
        return None
    packed = {o.name: o.share for o in e.ran.operators if o.kind == "compute" and o.format == e.asked}
    return f"packed weights save reading ({listed(packed)}), and a call is bound by arithmetic"


def graph_breaks(e: Evidence) -> str | None:
    """A compiled model that falls apart, or is compiled again, while it is used."""
    breaks = 0 if e.ran is None else e.ran.graph_breaks or 0
    again = 0 if e.ran is None else e.ran.recompiles or 0
    said = [_counted(breaks, "graph break"), _counted(again, "recompilation")]
    if not breaks and not again:
        return None
    return f"the compiled model has {' and '.join(filter(None, said))}: what lies between runs as in eager PyTorch"


def same_kernels(e: Evidence) -> str | None:
    """Inductor calls the same library as eager PyTorch for convolutions and products; it can fuse only the rest."""
    if e.ran is None or e.against is None or e.asked != "float32" or e.passes:
        return None
    if e.record.trial.backend != "inductor" or e.against.record.trial.backend != "torch":
        return None
    called = [name for name in by_name(e.ran, "compute") if not name.startswith("cpp_")]  # cpp_: made by Inductor
    before = e.reference_ran
    # A package tells calls without times; then those of eager PyTorch say how much the same calls take.
    told = e.timed or (before if before is not None and before.basis == "time" else None)
    if not called or told is None or told.share("compute") < MOST:
        return None
    outside = 0.0 if isinstance(told.outside_share, Unmeasured) else told.outside_share
    alone = 1 / (told.share("compute") * (1 - outside)) if outside < 1 else 1.0
    most = units.ratio(alone * e.against.ratio if told is e.timed else alone)
    where = "" if told is e.timed else f" in {e.against.name}"
    return (
        f"{part(told, told.share('compute'))}{where} is in convolutions and matrix products, for which compiled and "
        f"eager PyTorch call the same library (oneDNN, MKL); without all the rest a call would be {most} as fast as in "
        f"{e.against.name} at most"
    )


def memory_bound(e: Evidence) -> str | None:
    """A call waits for memory, and moves as much as before."""
    sized = [s for s in e.steps if s.bytes_before and s.bytes_after is not None]
    if e.bound != "memory" or not sized or sized[-1].bytes_after < SHRUNK * sized[0].bytes_before:  # type: ignore[operator]
        return None
    sizes = [units.size(value) for value in (sized[0].bytes_before, sized[-1].bytes_after) if value is not None]
    return f"a call is bound by memory, and there is no less to read: {sizes[0]} before, {sizes[1]} after"


def overhead(e: Evidence) -> str | None:
    """Neither arithmetic nor memory explains the time of a call."""
    if e.bound != "overhead" or e.limit_share is None:
        return None
    return (
        f"a call reaches {units.percent(e.limit_share, 0)} of what the hardware allows, so neither arithmetic nor "
        f"memory takes its time: at batch {e.record.trial.batch_size} its layers are too small, or their kernels slow"
    )


RULES = tuple(
    Rule(function.__name__.replace("_", "-"), function)
    for function in (
        only_trained,
        conv_integer,
        no_arithmetic,
        emulated_float16,
        signed_activations,
        eager_integers,
        fallback,
        expanded_weights,
        unstructured_zeros,
        low_peak,
        outside_operators,
        conversions,
        reached_little,
        weights_are_no_limit,
        graph_breaks,
        same_kernels,
        memory_bound,
        overhead,
    )
)


def _counted(number: int, noun: str) -> str:
    return "" if not number else f"{number} {noun}{'' if number == 1 else 's'}"


def _with_casts(sentence: str, e: Evidence) -> str:
    """Add what conversions take where that is much: a format without a gain still has their cost."""
    if e.timed is None or (casts := e.timed.share("conversion")) < SOME:
        return sentence
    return f"{sentence}, and conversions take {part(e.timed, casts)}"

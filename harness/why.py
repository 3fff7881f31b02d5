"""Why a variant is not faster: one sentence from the proof, for each that is not, or gains less than it should."""

from __future__ import annotations

from dataclasses import dataclass

from harness import units
from harness.evidence import Evidence, Versus, listed
from harness.execution import by_name
from harness.schema import Execution, Unmeasured
from harness.why_rules import RULES, SHRUNK

NOT_FASTER = ("slower", "same")


@dataclass(frozen=True)
class Finding:
    """The answer: the rule that gave it, its sentence, the trial held against, and the speed-up over that."""

    rule: str
    sentence: str
    against: str
    ratio: float


@dataclass(frozen=True)
class Expectation:
    """The least factor over its own engine that a technique gave wherever the CPU has the instructions for it.

    Attributes:
        format: the number format that is asked for.
        technique: name of the pass, or a beginning of it; empty for whatever asks for the format.
    """

    format: str
    technique: str
    factor: float


# Measured on ResNet-18, MobileNetV2, MiniLM and a click model over their own engines (docs/measurement.md): static INT8
# gave 1.9 to 5.4 times, dynamic INT8 of matrix products 2.0 to 2.9, bfloat16 1.2 to 2.2. A threshold, no promise: who
# stays below gets a sentence.
EXPECTED = (
    Expectation("int8", "quantize.static-int8", 1.5),
    Expectation("int8", "quantize.dynamic-int8", 1.5),
    Expectation("bfloat16", "", 1.2),
)


def explain(evidence: Evidence) -> Finding | None:
    """Return why the variant is not faster than its own engine's plain row or the baseline; None where it is.

    Its own engine's row comes first, since that tells the technique from the engine. An inconclusive comparison gets
    no reason: the data do not decide.
    """
    lead = evidence.engine or evidence.baseline
    if lead is None:
        return None
    if lead.verdict in NOT_FASTER or (lead.verdict == "faster" and lead.high < expected(evidence)):
        return _by_rule(evidence.facing(lead))
    if lead.verdict == "inconclusive":
        return _undecided(lead)
    other = evidence.baseline
    if other is None or lead is other:
        return None
    if other.verdict in NOT_FASTER:
        return _slow_engine(lead, other)
    return _undecided(other) if other.verdict == "inconclusive" else None


def expected(evidence: Evidence) -> float:
    """Return the factor over its own engine that the variant should reach; 0 where nothing is expected."""
    if evidence.engine is None or evidence.weights_only:
        return 0.0
    factors = [
        e.factor
        for e in EXPECTED
        if e.format == evidence.asked
        and evidence.has(e.format)
        and (not e.technique or any(name.startswith(e.technique) for name in evidence.passes))
    ]
    return max(factors, default=0.0)


def _by_rule(evidence: Evidence) -> Finding:
    assert evidence.against is not None
    for rule in RULES:
        sentence = rule.explain(evidence)
        if sentence is not None:
            return Finding(rule.name, sentence, evidence.against.name, evidence.against.ratio)
    return Finding("unexplained", _unexplained(evidence), evidence.against.name, evidence.against.ratio)


def _undecided(versus: Versus) -> Finding:
    reason = f" ({versus.reason})" if versus.reason else ""
    sentence = f"the data do not decide whether it is faster than {versus.name}{reason}"
    return Finding("undecided", sentence, versus.name, versus.ratio)


def _slow_engine(engine: Versus, baseline: Versus) -> Finding:
    alone = units.ratio(baseline.ratio / engine.ratio)
    return Finding(
        "slow-engine",
        f"it gains {units.ratio(engine.ratio)} over {engine.name}, which by itself is only {alone} as fast as "
        f"{baseline.name}",
        baseline.name,
        baseline.ratio,
    )


def _unexplained(e: Evidence) -> str:
    """Say that no rule knows, with the operators whose time did not shrink, or else the biggest ones."""
    if e.ran is None:
        reason = e.record.execution.reason  # type: ignore[union-attr]
        return f"what it executed is not known ({reason}), so no reason can be proven"
    named = listed(by_name(e.ran))
    kept = _not_shrunk(e)
    if kept:
        return f"no rule explains it: {kept}"
    return f"no rule explains it; the biggest of its operators: {named}"


def _not_shrunk(e: Evidence) -> str:
    """Return the biggest operators that take as long as in the other trial; empty where times are not known."""
    before = e.reference_ran
    if e.timed is None or before is None or before.basis != "time" or e.against is None:
        return ""
    own, other = _seconds(e.timed, e.call_s), _seconds(before, e.against.call_s)
    kept = [name for name, seconds in own.items() if name in other and seconds >= SHRUNK * other[name]][:2]
    times = {name: (units.seconds(own[name]), units.seconds(other[name])) for name in kept}
    return ", ".join(f"{n} takes {now} of a call, {then} in {e.against.name}" for n, (now, then) in times.items())


def _seconds(told: Execution, call_s: float | None) -> dict[str, float]:
    """Return operator → seconds of a call; empty where a part of the call is not known."""
    outside = told.outside_share
    if call_s is None or isinstance(outside, Unmeasured):
        return {}
    return {name: share * (1 - outside) * call_s for name, share in by_name(told).items()}

"""What is known of a variant when it is asked why it is not faster: nothing here is guessed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness import units
from harness.peaks import Peaks
from harness.schema import Artifact, Execution, Record, Step, Unmeasured

# Instructions of x86 that multiply in a format; those of other processors are not known well enough to judge.
ARITHMETIC = {
    "float16": ("avx512_fp16",),
    "bfloat16": ("avx512_bf16", "amx_bf16"),
    "int8": ("avx512_vnni", "avx_vnni", "amx_int8"),
}


@dataclass(frozen=True)
class Versus:
    """A comparison with another trial of the experiment.

    Attributes:
        record: of that trial.
        ratio, low, high: its time over the variant's, above 1 is faster, with the 95 % interval.
        verdict, reason: as in the frame.
        call_s: its median latency; None where it has none.
    """

    record: Record
    ratio: float
    low: float
    high: float
    verdict: str
    reason: str = ""
    call_s: float | None = None

    @property
    def name(self) -> str:
        """The other trial's name."""
        return self.record.trial.name


@dataclass(frozen=True)
class Evidence:
    """A measured variant and what speaks about its speed.

    Attributes:
        engine: against its own engine's plain row; None where it is that row or nothing was measured.
        baseline: against the experiment's baseline; None likewise.
        flags: of the CPU, from the run's header; empty where unknown.
        peaks: of the host at this trial's threads; None where not measured.
        bound, limit_share: its place under the roofline; None where it has none.
        call_s: its median latency.
        against: the comparison at issue.
    """

    record: Record
    engine: Versus | None = None
    baseline: Versus | None = None
    flags: frozenset[str] = frozenset()
    peaks: Peaks | None = None
    bound: str | None = None
    limit_share: float | None = None
    call_s: float | None = None
    against: Versus | None = None

    @property
    def ran(self) -> Execution | None:
        """What the variant executed; None where nobody could tell."""
        return None if isinstance(self.record.execution, Unmeasured) else self.record.execution

    @property
    def timed(self) -> Execution | None:
        """What it executed where shares are of time."""
        return self.ran if self.ran is not None and self.ran.basis == "time" else None

    @property
    def reference_ran(self) -> Execution | None:
        """What the trial executed that it is compared with."""
        told = None if self.against is None else self.against.record.execution
        return told if isinstance(told, Execution) else None

    @property
    def asked(self) -> str:
        """The number format that was asked for; of weights only, see ``weights_only``."""
        return self._requested.split()[0] if self._requested else "float32"

    @property
    def weights_only(self) -> bool:
        """Whether only weights were asked to have the format."""
        return self._requested.endswith(" weights")

    @property
    def _requested(self) -> str:
        return str(self.record.actual.get("requested_precision", ""))

    @property
    def passes(self) -> tuple[str, ...]:
        """Names of the passes."""
        return tuple(spec.name for spec in self.record.trial.passes)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Steps of the build."""
        return self.record.artifact.steps if isinstance(self.record.artifact, Artifact) else ()

    @property
    def outside(self) -> float | None:
        """Share of a call's wall time in no operator."""
        share = None if self.ran is None else self.ran.outside_share
        return None if isinstance(share, Unmeasured) else share

    def lacks(self, number_format: str) -> tuple[str, ...]:
        """Return the instructions for a format of which this CPU has none; empty when it has one, or is unknown."""
        known = "avx2" in self.flags and self.record.trial.device == "cpu"
        wanted = ARITHMETIC.get(number_format, ())
        return wanted if known and not self.flags.intersection(wanted) else ()

    def has(self, number_format: str) -> bool:
        """Return whether this CPU is known to multiply in a format by an instruction for it."""
        return bool(self.flags.intersection(ARITHMETIC.get(number_format, ())))

    def facing(self, versus: Versus) -> Evidence:
        """Return the evidence with this comparison at issue."""
        return replace(self, against=versus)


def part(told: Execution, share: float) -> str:
    """Write a share with what it is of: ``92 % of the operators' time``."""
    whole = "the operators' time" if told.basis == "time" else "the operator runs"
    return f"{units.percent(share, 0)} of {whole}"


def listed(shares: dict[str, float], most: int = 3) -> str:
    """Write the largest shares: ``QuantizeLinear 18 %, Cast 3 %``."""
    return ", ".join(f"{name} {units.percent(s, 0)}" for name, s in list(shares.items())[:most] if s >= 0.005)

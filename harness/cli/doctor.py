"""``harness doctor``: exit 1 when nothing can be measured here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness import units
from harness.cli.console import CONSOLE
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.doctor import Diagnosis
    from harness.host.facts import HostFacts
    from harness.noise import Noise
    from harness.peaks import Peaks

Row = tuple[str, Any]


def doctor(
    noise: bool = typer.Option(False, "--noise", help="Measure how small a difference this host resolves; minutes."),
    peaks: bool = typer.Option(False, "--peaks", help="Measure what this host can compute and move at most; a minute."),
    threads: int | None = typer.Option(None, help="Threads of the noise or peak measurement; 1 unless told."),
    as_json: bool = typer.Option(False, "--json", help="Print everything as JSON."),
) -> None:
    """Say what this host is, what endangers a measurement on it, and what can be used here."""
    from harness.doctor import diagnose, to_json

    if noise:
        _measure_noise(1 if threads is None else threads)
    if peaks:
        _measure_peaks(1 if threads is None else threads)
    if threads is not None and not (noise or peaks):
        raise UserError("--threads belongs to a measurement: harness doctor --noise --threads N, or --peaks")
    found = diagnose()
    if as_json:
        print(json.dumps(to_json(found), indent=1))
    else:
        _print(found)
    if not found.can_measure:
        raise typer.Exit(1)


def _measure_noise(threads: int) -> None:
    from harness.cli.progress import Progress
    from harness.noise_study import best_subject, measure_noise

    # The report alone goes to the standard output.
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 170, highlight=False)
    subject = best_subject()
    console.print(f"noise: six processes of {subject.model} on {subject.backend} against each other")
    with Progress(console) as progress:
        measure_noise(threads, progress.on_event, subject=subject)


def _measure_peaks(threads: int) -> None:
    from harness.peaks_study import measure_peaks

    console = Console(stderr=True, width=None if sys.stderr.isatty() else 170, highlight=False)
    console.print(f"peaks: products of matrices and passes over memory, {threads} thread{'s' if threads > 1 else ''}")
    measure_peaks(threads)


def _print(found: Diagnosis) -> None:
    CONSOLE.print(f"[bold]{escape(found.description)}[/bold] (host {found.host})")
    for title, rows in _facts(found.facts):
        _section(title, rows)
    _section("libraries", [(name, version or "[dim]not installed[/dim]") for name, version in found.versions.items()])
    _section("backends", [(name, _usable(reason)) for name, reason in found.backends.items()])
    places = found.places
    cache = f"{escape(str(places.cache))} ({units.size(places.cache_bytes)})"
    _section("places", [("results", escape(str(places.results))), ("cache", cache), ("lock", escape(str(places.lock)))])
    _section("noise", list(_noise(found.noise)))
    _section("peaks", list(_peaks(found.peaks)))
    _dangers(found)


def _section(title: str, rows: Iterable[Row]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", min_width=22)
    table.add_column(overflow="fold")
    for label, text in rows:
        table.add_row(f"  {label}", text)
    CONSOLE.print(f"[bold]{title}[/bold]")
    CONSOLE.print(table)


def _usable(reason: str | None) -> str:
    return "[green]available[/green]" if reason is None else f"[yellow]{escape(reason)}[/yellow]"


def _facts(facts: HostFacts) -> list[tuple[str, list[Row]]]:
    cpu, memory, load, limits = facts.cpu, facts.memory, facts.load, facts.limits
    return [
        (
            "processor",
            [
                ("model", _show(cpu.model)),
                ("instruction sets", " ".join(cpu.flags_present) or "none of those that matter"),
                ("  missing", _show(cpu.flags_missing, lambda flags: " ".join(flags) or "none")),
                ("usable cores", _show(cpu.usable_cores, lambda c: f"{len(c)} ({', '.join(map(str, c))})")),
                ("physical cores", _show(cpu.physical_cores)),
                ("SMT", _show(cpu.smt_siblings, lambda s: f"{len(s)} shared cores" if s else "no core is shared")),
                ("governor", _show(cpu.governor)),
                ("boost", _show(cpu.boost, _on_off)),
                ("virtual machine", _show(cpu.virtualization, lambda v: f"yes: {v}" if v else "no sign of one")),
                ("steal since boot", _show(cpu.steal_share, units.percent)),
                ("clock source", _show(cpu.clock_source)),
            ],
        ),
        (
            "memory",
            [
                ("total", _show(memory.total_bytes, units.size)),
                ("available", _show(memory.available_bytes, units.size)),
                ("swap", _show(memory.swap_total_bytes, lambda b: units.size(b) if b else "none")),
                ("swap in use", _show(memory.swap_used_bytes, lambda b: units.size(b) if b else "none")),
                ("NUMA nodes", _show(memory.numa_nodes)),
                ("transparent huge pages", _show(memory.huge_pages)),
            ],
        ),
        (
            "load and limits",
            [
                ("load average (1 min)", _show(load.average_1m)),
                ("waiting for CPU (PSI)", _show(load.cpu_pressure, units.percent)),
                ("waiting for memory", _show(load.memory_pressure, units.percent)),
                ("waiting for I/O", _show(load.io_pressure, units.percent)),
                ("autogroup", _show(load.autogroup, _on_off)),
                ("CPU quota", _show(limits.cpu_cores, lambda q: "none" if q is None else f"{q:g} cores")),
                ("memory limit", _show(limits.memory_bytes, lambda b: "none" if b is None else units.size(b))),
            ],
        ),
        ("GPU", _gpus(facts)),
    ]


def _gpus(facts: HostFacts) -> list[Row]:
    from harness.schema import Unmeasured

    if isinstance(facts.gpus, Unmeasured):
        return [("NVIDIA", escape(facts.gpus.reason))]
    rows: list[Row] = []
    for gpu in facts.gpus:
        memory = f", {units.size(gpu.memory_bytes)}" if gpu.memory_bytes else ""
        rows.append(("NVIDIA", escape(f"{gpu.name}{memory}, driver {gpu.driver}")))
    return rows


def _show(value: Any, form: Any = str) -> str:
    from harness.schema import Unmeasured

    if isinstance(value, Unmeasured):
        return f"[dim]not readable here ({escape(value.reason)})[/dim]"
    return escape(str(form(value)))


def _on_off(value: bool) -> str:
    return "on" if value else "off"


def _noise(measured: Iterable[Noise]) -> Iterable[Row]:
    from harness.doctor import floors

    empty = True
    for noise in measured:
        empty = False
        label = f"{noise.threads} thread{'s' if noise.threads > 1 else ''}"
        kind = "clean rounds" if noise.clean else "rounds, disturbed ones among them"
        yield (
            label,
            (
                f"{noise.measured_at[:10]}, {escape(noise.model)} on {noise.backend}: {noise.processes} processes, "
                f"{noise.rounds} {kind} ({noise.dirty_rounds} disturbed)"
            ),
        )
        yield (
            "",
            (
                f"sd of a block {units.percent(noise.within, 2)}, of a process {units.percent(noise.between, 2)} "
                f"\\[{units.percent(noise.between_low, 2)}, {units.percent(noise.between_high, 2)}]"
            ),
        )
        if not noise.clean:
            yield "", "[yellow]the host was disturbed: repeat the measurement when it is quiet[/yellow]"
        least = ", ".join(f"{units.percent(f)} at {k} × {n}" for (k, n), f in floors(noise).items())
        yield "", f"smallest difference resolved (replicates × rounds): [bold]{least}[/bold]"
    if empty:
        yield "not measured", "harness doctor --noise measures how small a difference this host resolves"


def _peaks(measured: Iterable[Peaks]) -> Iterable[Row]:
    from harness.peaks import operations

    empty = True
    for peaks in measured:
        empty = False
        label = f"{peaks.threads} thread{'s' if peaks.threads > 1 else ''}"
        rates = [f"{a.format} {units.rate(a.flops_per_s, operations(a.format))}" for a in peaks.arithmetic]
        yield label, f"{peaks.measured_at[:10]}: {', '.join(rates)}"
        nearest = min(peaks.bandwidths, key=lambda b: b.working_set_bytes)
        yield (
            "",
            f"memory {units.rate(peaks.memory.bytes_per_s, 'B/s')}; data of {units.size(nearest.working_set_bytes)}, "
            f"which a cache holds, {units.rate(nearest.bytes_per_s, 'B/s')}",
        )
        for name, reason in peaks.missing.items():
            yield "", f"[dim]no peak of {name}: {escape(reason)}[/dim]"
        if peaks.busy:
            yield "", "[yellow]the host was disturbed, so the peaks may be too low: repeat when it is quiet[/yellow]"
    if empty:
        yield "not measured", "harness doctor --peaks measures what this host can compute and move at most"


def _dangers(found: Diagnosis) -> None:
    if found.dangers:
        CONSOLE.print("[bold]what endangers a measurement here[/bold]")
    else:
        CONSOLE.print("[green]nothing that was readable endangers a measurement here[/green]")
    for danger in found.dangers:
        CONSOLE.print(f"  [yellow]{escape(danger.name)}[/yellow]: {escape(danger.what)}")
        CONSOLE.print(f"    [dim]remedy:[/dim] {escape(danger.remedy)}")
    if not found.can_measure:
        CONSOLE.print("[red]no backend can be used, so nothing can be measured; install one as said above[/red]")

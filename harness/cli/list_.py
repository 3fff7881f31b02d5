"""``harness list models|passes|backends|suites``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import typer
from rich.markup import escape
from rich.table import Table

from harness.cli.console import CONSOLE


class Kind(StrEnum):
    """What can be listed."""

    MODELS = "models"
    PASSES = "passes"
    BACKENDS = "backends"
    SUITES = "suites"


def list_(
    kind: Kind = typer.Argument(help="What to list."),
    models: Path | None = typer.Option(None, help="Folder of model files of your own."),
) -> None:
    """List what a suite may name, and what cannot be used here with the reason."""
    from harness import catalog  # here, so that --help stays instant
    from harness.backends import BACKENDS
    from harness.passes import PASSES
    from harness.suite import read_suite
    from harness.zoo import load_model_file, model_files

    backends = [name for name in BACKENDS if name != "fake"]  # that one is for the selftest
    table = Table(box=None, pad_edge=False, header_style="bold")
    if kind is Kind.MODELS:
        _columns(table, "model", "task", "metric", "what", "license", "here")
        for name, path in model_files(models).items():
            if not name.startswith("_"):
                m = load_model_file(path)
                table.add_row(name, m.task, m.metric, escape(m.summary), m.license, _here(catalog.model_unavailable(m)))
    elif kind is Kind.BACKENDS:
        _columns(table, "backend", "artifact", "what", "options", "here")
        for name in backends:
            b = BACKENDS.get(name)
            options = ", ".join(f"{k}={'|'.join(map(str, v)) or '…'}" for k, v in b.options.items()) or "-"
            table.add_row(name, b.format, escape(b.summary), options, _here(catalog.backend_unavailable(name)))
    elif kind is Kind.PASSES:
        _columns(table, "pass", "form", "what", "parameters", *backends)
        for name in PASSES:
            cls = PASSES.get(name)
            params = ", ".join(f"{k}={v}" for k, v in cls().params().items()) or "-"
            marks = [_mark(cls.unsupported_on(b), catalog.pass_unavailable(cls, b)) for b in backends]
            table.add_row(name, cls.form, escape(cls.summary), escape(params), *marks)
    else:
        _columns(table, "suite", "experiments", "what")
        for name, path in catalog.suite_files().items():
            spec = read_suite(path).spec
            table.add_row(name, str(len(spec.experiments)), escape(spec.description))
    CONSOLE.print(table)
    if kind is Kind.PASSES:
        for name in PASSES:
            for backend in backends:
                cls = PASSES.get(name)
                lacking = catalog.pass_unavailable(cls, backend)
                reason = cls.unsupported_on(backend) or (lacking and f"{name} on {backend}: {lacking}")
                if reason:
                    CONSOLE.print(f"[dim]{escape(reason)}[/dim]")


def _columns(table: Table, *names: str) -> None:
    for name in names:
        table.add_column(name, overflow="fold")


def _mark(unsupported: str | None, lacking: str | None) -> str:
    return "no" if unsupported else "[yellow]not installed[/yellow]" if lacking else "[green]yes[/green]"


def _here(reason: str | None) -> str:
    return f"[yellow]{escape(reason)}[/yellow]" if reason else "[green]available[/green]"

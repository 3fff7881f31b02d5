"""Puts suites/ and models/ into the wheel. An editable install uses the repository's own folders instead."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DataHook(BuildHookInterface):  # type: ignore[type-arg]
    """Static force-include would break ``pip install --editable``: hatchling cannot map such paths there."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folders where ``zoo.resource_dir`` looks for them."""
        if version == "standard":
            for name in ("suites", "models"):
                build_data["force_include"][f"{self.root}/{name}"] = f"harness/_data/{name}"

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.host.gpu import Gpu, by_driver_folder, by_nvidia_smi, by_nvml, find_gpus
from harness.schema import Unmeasured


class NVMLError(Exception):
    pass


def fake_nvml(**changes: Any) -> Any:
    parts = {
        "NVMLError": NVMLError,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: b"570.1",
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda i: i,
        "nvmlDeviceGetName": lambda h: "Fake GPU",
        "nvmlDeviceGetMemoryInfo": lambda h: SimpleNamespace(total=1000),
    }
    return SimpleNamespace(**{**parts, **changes})


def test_nvml_tells_name_driver_and_memory(tmp_path: Path) -> None:
    assert by_nvml(tmp_path, fake_nvml) == (Gpu("Fake GPU", "570.1", 1000),)


def test_an_error_of_nvml_is_the_reason(tmp_path: Path) -> None:
    def broken() -> None:
        raise NVMLError("Driver Not Loaded")

    assert by_nvml(tmp_path, lambda: fake_nvml(nvmlInit=broken)) == Unmeasured("NVML: Driver Not Loaded")
    late = fake_nvml(nvmlDeviceGetCount=broken)
    assert by_nvml(tmp_path, lambda: late) == Unmeasured("NVML: Driver Not Loaded")


def test_without_pynvml_the_reason_says_how_to_get_it(tmp_path: Path) -> None:
    def missing() -> Any:
        raise ModuleNotFoundError("pynvml")

    found = by_nvml(tmp_path, missing)
    assert isinstance(found, Unmeasured)
    assert "pip install nvidia-ml-py" in found.reason


def test_nvidia_smi_is_read_line_by_line(tmp_path: Path) -> None:
    reply = SimpleNamespace(stdout="NVIDIA A, B, 570.1, 100\nOther, 570.1, [N/A]\n")
    found = by_nvidia_smi(tmp_path, lambda _: "/usr/bin/nvidia-smi", lambda *a, **k: reply)
    assert found == (Gpu("NVIDIA A, B", "570.1", 100 * 2**20), Gpu("Other", "570.1"))


def test_what_nvidia_smi_complains_about_is_the_reason(tmp_path: Path) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise subprocess.CalledProcessError(9, "nvidia-smi", output="NVIDIA-SMI has failed\nmore\n", stderr="")

    assert by_nvidia_smi(tmp_path, lambda _: "x", fails) == Unmeasured("nvidia-smi: NVIDIA-SMI has failed")


def test_the_drivers_folder_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "proc/driver/nvidia"
    (folder / "gpus/0000:01:00.0").mkdir(parents=True)
    (folder / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.1.2  Mon Jan 1\n")
    (folder / "gpus/0000:01:00.0/information").write_text("Model: \t\t Fake GPU\nIRQ: 1\n")
    assert by_driver_folder(tmp_path) == (Gpu("Fake GPU", "570.1.2"),)


def test_the_first_source_that_answers_wins_and_without_one_all_reasons_are_told(tmp_path: Path) -> None:
    gpu = Gpu("G", "1")
    assert find_gpus(tmp_path, (lambda _: Unmeasured("a"), lambda _: (gpu,), lambda _: ())) == (gpu,)
    nothing = find_gpus(tmp_path, (lambda _: Unmeasured("a"), lambda _: Unmeasured("b")))
    assert nothing == Unmeasured("none found: a; b")

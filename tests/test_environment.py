from __future__ import annotations

import json
import os

from harness.environment import DECISIVE_FLAGS, cpu_flags, describe, host_fingerprint


def test_the_fingerprint_is_the_same_every_time_and_json_ready() -> None:
    one, two = host_fingerprint(), host_fingerprint()
    assert one["id"] == two["id"]
    assert json.loads(json.dumps(one)) == one
    assert one["cores"] == len(os.sched_getaffinity(0))
    assert one["memory_gib"] >= 0


def test_the_fingerprint_holds_nothing_personal() -> None:
    text = json.dumps(host_fingerprint())
    assert os.uname().nodename not in text


def test_flags_are_decisive_ones_in_a_fixed_order() -> None:
    flags = cpu_flags()
    assert flags == tuple(flag for flag in DECISIVE_FLAGS if flag in flags)


def test_a_host_is_described_in_one_line() -> None:
    host = {
        "cpu": "Intel(R)  Xeon(R) CPU",
        "cores": 2,
        "memory_gib": 8,
        "flags": ["avx2", "avx512_vnni", "amx_int8"],
        "virtualized": True,
    }
    assert describe(host) == "Intel Xeon CPU virtual machine, 2 cores, 8 GiB, avx512_vnni amx_int8"
    plain = {"cores": 4, "memory_gib": 16}
    assert describe(plain) == "unknown CPU machine, 4 cores, 16 GiB, no INT8/BF16 units"
    assert "\n" not in describe(host_fingerprint())

from __future__ import annotations

import json
import subprocess
import sys

from harness.measure.memory import peak_rss_bytes, rss_bytes

MB = 10**6
# In a process of its own, because the mark of this one tells what other tests have used.
SCRIPT = """
import json
import numpy as np
from harness.measure.memory import peak_rss_bytes, reset_peak, rss_bytes
reset_peak()
before = peak_rss_bytes()
block = np.ones(64_000_000, dtype=np.uint8)
held = peak_rss_bytes()
del block
freed, kept = rss_bytes(), peak_rss_bytes()
reset_peak()
print(json.dumps({"before": before, "held": held, "freed": freed, "kept": kept, "reset": peak_rss_bytes()}))
"""


def test_the_peak_rises_by_what_is_touched_stays_when_it_is_freed_and_can_be_reset() -> None:
    reply = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    marks = json.loads(reply.stdout)
    assert 63 * MB < marks["held"] - marks["before"] < 70 * MB
    assert abs(marks["kept"] - marks["held"]) < MB  # the kernel counts in batches of pages
    assert marks["held"] - marks["freed"] > 60 * MB
    assert abs(marks["reset"] - marks["freed"]) < 4 * MB


def test_the_peak_is_never_below_the_present() -> None:
    present = rss_bytes()
    assert peak_rss_bytes() >= present - MB > 0

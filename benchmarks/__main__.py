"""Measures all cases, or the named ones, and compares with the last commit's results.

    make bench
    python -m benchmarks [NAME...]       names, or their beginnings

Results go to benchmarks/results.json; the other cases keep their old rows.
"""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.startup import startup

RESULTS = Path(__file__).parent / "results.json"
COLUMNS = {  # the title and format of each value in a row
    "seconds": ("time", "{:.3f} s"),
    "times_roofline": ("roofline", "{:.2f} x"),
    "processor_times_roofline": ("processor", "{:.2f} x"),
    "images_per_second": ("images", "{:.2f}/s"),
    "gflop": ("work", "{:.0f} GFLOP"),
    "peak_gb": ("memory", "{:.2f} GB"),
    "first_call_seconds": ("first call", "{:.1f} s"),
}


def main(names: list[str]) -> None:
    known = *CASES, "start"
    if unknown := [n for n in names if not any(case.startswith(n) for case in known)]:
        sys.exit(f"Unknown case {unknown[0]}: choose from {', '.join(known)}.")
    wanted = [n for n in known if _chosen(n, names)]
    before = _committed()
    stamp = {"date": time.strftime("%Y-%m-%d"), "cores": len(os.sched_getaffinity(0))}
    print(f"{platform.processor() or platform.machine()}, {stamp['cores']} cores")
    print(_line(["case", *(title for title, _ in COLUMNS.values()), "change"]))
    for name in wanted:
        found = startup() if name == "start" else {name: _measure(name)}
        rows = json.loads(RESULTS.read_text())["cases"] if RESULTS.exists() else {}
        for key, row in found.items():
            rows[key] = {k: _short(v) for k, v in row.items()} | stamp
            print(_line(_cells(key, rows[key], before.get(key))), flush=True)
        text = json.dumps({"cases": {k: rows[k] for k in sorted(rows)}}, indent=1)
        RESULTS.write_text(text + "\n")


def _chosen(name, names):
    return not names or any(name.startswith(n) for n in names)


def _measure(name: str) -> dict:
    command = [sys.executable, "-m", "benchmarks.measure", name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _committed() -> dict:
    """Returns the rows of the last commit; {} outside a repository."""
    command = ["git", "show", f"HEAD:./{RESULTS.name}"]
    done = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True)
    return json.loads(done.stdout)["cases"] if done.returncode == 0 else {}


def _cells(name, row, before):
    cells = [f.format(row[k]) if k in row else "" for k, (_, f) in COLUMNS.items()]
    if before is None or before["cores"] != row["cores"]:
        return [name, *cells, "new"]
    # The speed of the machine changes with time, and the roofline changes with it.
    key = "times_roofline" if "times_roofline" in row else "seconds"
    return [name, *cells, f"{100 * (row[key] / before[key] - 1):+.0f} %"]


def _line(cells):
    first, *rest = cells
    return f"{first:26}" + "".join(f"{cell:>12}" for cell in rest)


def _short(value):
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main(sys.argv[1:])

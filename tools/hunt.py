"""``make hunt``: kill a run at random moments of its life, let it go on, and compare every file.

A life is what a reader does: images are prepared and encoded, two systems trained and scored,
runs recorded, a notebook run, tables made. It is killed with SIGKILL, started again, and what it
leaves must be, byte for byte, what an undisturbed life leaves. Times and memory are not compared.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

LIFE = """
import sys
from aeflow_utils.__main__ import command_line, main
smoke = ["--profile", "smoke"]
commands = [
    ["run", "--model", "ae_flow", *smoke],
    ["run", "--model", "padim", *smoke],
    ["record", "--runs-alone", *smoke],
    ["notebooks", "01", *smoke],
    ["tables", "--verify", *smoke],
]
for command in commands:
    sys.argv[1:] = command
    if command_line():
        sys.exit(1)
"""
# Of a run's environment, and of the checksums of its files that environment's.
OF_THIS_MACHINE = ("fit_seconds", "score_seconds", "peak_memory_mb", "environment.json")
NOT_COMPARED = (".lock", ".inputs")  # what holds nothing; what follows from times of files
# Moments beyond the end are of no use; the first half second is Python's own start.
EARLIEST = 0.5


def live(home: Path, seconds: float | None = None) -> tuple[int, str]:
    """A life in `home`, killed after `seconds`; its exit status and what it said."""
    variables = {"AEFLOW_HOME": home / "home", "AEFLOW_CACHE": home / "cache"}
    environment = os.environ | {name: str(path) for name, path in variables.items()}
    environment |= {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    notebooks = Path(__file__).parent.parent / "notebooks"
    shutil.copytree(notebooks, home / "home/notebooks", dirs_exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", LIFE],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
    return process.returncode, said


def left_by(home: Path) -> dict[str, bytes]:
    """Every file of a life, without what times and machines change."""
    found = {}
    for file in sorted((home / "home").rglob("*")):  # the cache may hold a row twice
        if file.is_file() and file.suffix not in NOT_COMPARED:
            content = file.read_bytes()
            if file.name in ("environment.json", "files.json"):
                kept = json.loads(content)
                for name in OF_THIS_MACHINE:
                    kept.pop(name, None)
                content = json.dumps(kept).encode()
            if file.suffix == ".ipynb":  # papermill writes times beside what cells gave
                cells = json.loads(content)["cells"]
                content = json.dumps([(c["source"], c.get("outputs")) for c in cells]).encode()
            found[str(file.relative_to(home))] = content
    return found


def differences(expected: dict[str, bytes], found: dict[str, bytes]) -> list[str]:
    """Names of files that only one has, or whose bytes differ."""
    names = expected.keys() | found.keys()
    return sorted(name for name in names if expected.get(name) != found.get(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, wrong = random.Random(options.seed), 0
    with TemporaryDirectory() as folder:
        start = time.monotonic()
        status, said = live(Path(folder) / "whole")
        length = time.monotonic() - start
        if status:
            sys.exit(said)
        expected = left_by(Path(folder) / "whole")
        print(f"a life takes {length:.1f} s and leaves {len(expected)} files", flush=True)
        for number in range(options.times):
            home = Path(folder) / f"{number}"
            moment = rng.uniform(EARLIEST, length)
            killed, _ = live(home, moment)
            status, said = live(home)
            others = differences(expected, left_by(home))
            if status or others:
                wrong += 1
                print(f"killed after {moment:.2f} s ({killed}): {others[:5]} {said[-500:]}")
            subprocess.run(["rm", "-rf", str(home)], check=True)
            if (number + 1) % 20 == 0:
                print(f"{number + 1 - wrong} of {number + 1} are the same", flush=True)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

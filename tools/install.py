"""``python -m tools.install``: the locked versions, into the environment of this Python.

On Linux, PyPI's PyTorch brings several GB of CUDA libraries. A machine without an NVIDIA card gets
PyTorch's own CPU build instead, of the same version, where its index can be reached. ``CPU=1`` asks
for that, ``CPU=0`` for PyPI's; otherwise the machine decides. Needs Python and nothing else.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
LOCK = HOME / "requirements.lock"
INDEX = "https://download.pytorch.org/whl/cpu"
SECONDS = 10  # that the index may take to answer
ENTRY = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s;]+)")
OF_CUDA = re.compile(r"^(?:nvidia|cuda|triton)\b")
PIP = [sys.executable, "-m", "pip", "install", "--progress-bar", "on"]


def wants_cpu() -> bool:
    """Whether the CPU build is asked for, or this machine has no use for another."""
    asked = os.environ.get("CPU", "")
    if asked not in ("", "0", "1"):
        raise SystemExit(f"CPU={asked}: say CPU=1 for PyTorch's CPU build, CPU=0 for PyPI's")
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False  # elsewhere PyPI's build is the CPU's, or has no separate one
    card = shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists()
    return asked == "1" or (asked == "" and not card)


def reachable(index: str) -> bool:
    """Whether PyTorch's index answers."""
    try:
        with urllib.request.urlopen(f"{index}/torch/", timeout=SECONDS) as answer:
            return answer.status == 200
    except OSError:
        return False


def entries(lock: str) -> dict[str, str]:
    """Each package's entry in a lock, with its hashes, by name and version."""
    whole = [line for line in lock.split("\n") if not line.startswith("#")]
    found = re.split(r"\n(?=\S)", "\n".join(whole).strip("\n"))
    return {ENTRY.match(entry)[0]: entry for entry in found}


def without_cuda(lock: str) -> tuple[list[str], str]:
    """The pins of PyTorch's own packages, and the lock without them and CUDA's libraries."""
    found = entries(lock)
    own = [pin for pin in found if pin.split("==")[0] in ("torch", "torchvision")]
    rest = [e for pin, e in found.items() if pin not in own and not OF_CUDA.match(pin)]
    return own, "\n".join(rest) + "\n"


def main() -> None:
    index = os.environ.get("AEFLOW_TORCH_INDEX", INDEX)
    if not wants_cpu():
        print("PyTorch: PyPI's build", flush=True)
    elif not reachable(index):
        print(f"PyTorch: PyPI's build, for {index} cannot be reached", flush=True)
    else:
        print(f"PyTorch: the CPU build of {index}", flush=True)
        own, rest = without_cuda(LOCK.read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory() as folder:
            lock = Path(folder) / "requirements.lock"
            lock.write_text(rest, encoding="utf-8")
            subprocess.run([*PIP, "--no-deps", "--index-url", index, *own], check=True)
            subprocess.run([*PIP, "--no-deps", "-r", str(lock)], check=True)
        return
    subprocess.run([*PIP, "-r", str(LOCK)], check=True)


if __name__ == "__main__":
    main()

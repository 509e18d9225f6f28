"""``make test-slurm``: a plan on a real Slurm, on this machine, killed and cut off on the way.

Starts Debian's slurm-wlm and munge in a temporary folder as root, submits a plan of small runs as a
reader would, kills one task with SIGKILL, lets one reach its time limit, submits what is left, and
compares every run with those of one process. Whatever it started is stopped at the end.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from aeflow_utils.config import RunConfig
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study import manifest
from aeflow_utils.study.commands import ARRAY_LIMIT
from aeflow_utils.study.experiments import plan
from aeflow_utils.study.grid import grid_plan
from aeflow_utils.study.machine import environment
from aeflow_utils.study.recording import recorded_home
from aeflow_utils.study.runs import run_folder

HOME = Path(__file__).resolve().parent.parent
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
CONFIGURATION = """\
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=10
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
LONG_RUN = ("overnight", "elpv", "ae_flow", "conv_like")
RESOURCES = {"GPUS": "0", "CPUS": "1", "MEMORY": "2G", "TIME": "2", "STOP_AHEAD": "60"}
PATIENCE = 1800  # seconds for all of it


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[None]:
    """A cluster of this machine alone, for as long as it lasts; its files are in `folder`."""
    folder.chmod(0o755)  # munge trusts no socket that others could replace
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    host, configuration = socket.gethostname().split(".")[0], folder / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(host=host, folder=folder, ports=_free_ports(2), cpus=os.cpu_count())
    )
    paths = {"socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log"}
    munge = [f"--{option}={folder / name}" for option, name in paths.items()]
    seed = f"--seed-file={folder / 'munge.seed'}"
    commands = (
        ["munged", "--foreground", "--force", f"--key-file={key}", seed, *munge],
        ["slurmctld", "-D", "-f", str(configuration)],
        ["slurmd", "-D", "-f", str(configuration), "-N", host],
    )
    started: list[subprocess.Popen] = []
    with environment(SLURM_CONF=str(configuration)):
        try:
            for command in commands:
                quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
                started.append(subprocess.Popen(command, **quiet))
                time.sleep(1)
            _wait(lambda: "idle" in _said("sinfo", "-h", "-o", "%T"), 60)
            yield
        finally:
            subprocess.run(["scancel", "--user=root"], check=False)
            _wait(lambda: not _said("squeue", "-h"), 60, "")
            for process in reversed(started):
                process.terminate()
                process.wait(20)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in found:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in found]


def _said(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()


def _wait(
    condition: Callable[[], bool], seconds: float, told: str = "too long", pause: float = 1
) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            if told:
                raise SystemExit(told)
            return
        time.sleep(pause)


def runs_of_test() -> list[RunConfig]:
    """Small runs on solar cells, and one that is too long for the time limit."""
    profile, *rest = LONG_RUN
    long_run = RunConfig.build(PROFILES[profile], rest[0], rest[1], variant=rest[2])
    smoke = PROFILES["smoke"]
    return [long_run, *plan(smoke, datasets=["elpv"]), *grid_plan(smoke, ["elpv"])[:8]]


def submit(plan_file: Path, logs: Path) -> None:
    """As a reader does; returns when the queue is empty."""
    subprocess.run([HOME / "slurm/submit.sh", plan_file], check=True)
    _wait(lambda: not _said("squeue", "-h"), PATIENCE, f"the queue does not end: see {logs}")


def kill_one(configs: list[RunConfig]) -> None:
    """SIGKILL to a task whose run is being made."""
    row: list[int] = []

    def begun() -> bool:
        row[:] = [n for n, c in enumerate(configs) if manifest.state_of(c) == "running"][-1:]
        return bool(row)

    _wait(begun, PATIENCE, pause=0.05)
    found = _said("pgrep", "-f", f"aeflow_utils run --plan .* --task {row[0]}$").split()
    for process in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(process), signal.SIGKILL)
    print(f"row {row[0]}: SIGKILL while its run was made", flush=True)


def main() -> None:
    lacking = [name for name in PROGRAMS if not shutil.which(name)]
    if lacking or os.geteuid() != 0:
        print(f"no Slurm here ({', '.join(lacking) or 'not root'}): nothing was tested")
        return
    with TemporaryDirectory() as temporary:
        folder, start = Path(temporary), time.monotonic()
        serial, arrays = (recorded_home(folder / name) for name in ("serial", "slurm"))
        configs = runs_of_test()
        (arrays / "notebooks").symlink_to(HOME / "notebooks")
        file, logs = folder / "plan.csv", folder / "logs"
        manifest.freeze(configs, ARRAY_LIMIT).to_csv(file, index=False)
        print(f"{len(configs)} runs; first those of one process", flush=True)
        with environment(AEFLOW_HOME=str(serial), AEFLOW_CACHE=str(folder / "cache")):
            errors = manifest.work_off(configs, jobs=1)
            expected = {c.run_name: _bytes_of(c) for c in configs}
        assert not errors, errors
        cluster = folder / "cluster"
        cluster.mkdir()
        with (
            environment(AEFLOW_HOME=str(arrays), AEFLOW_CACHE=str(folder / "cache of slurm")),
            environment(LOGS=str(logs), **RESOURCES),
            slurm(cluster),
        ):
            subprocess.run([HOME / "slurm/submit.sh", file], check=True)
            kill_one(configs)
            _wait(lambda: not _said("squeue", "-h"), PATIENCE, f"the queue does not end: {logs}")
            print(_said(sys.executable, "-m", "aeflow_utils", "status", str(file)), flush=True)
            left = [c for c in configs if not run_folder(c).exists()]
            submit(file, logs)
            found = {c.run_name: _bytes_of(c) for c in configs if run_folder(c).exists()}
            print((logs / "report.log").read_text()[-1500:])
        same = [name for name, scores in expected.items() if found.get(name) == scores]
        cut = sum("stopped:" in log.read_text() for log in logs.glob("runs-*.log"))
        minutes = (time.monotonic() - start) / 60
        print(f"{len(same)} of {len(expected)} runs have the same scores, byte by byte")
        print(f"{cut} tasks were stopped by their time limit and went on; {minutes:.1f} min")
        sys.exit(0 if len(same) == len(expected) and cut and left else 1)


def _bytes_of(config: RunConfig) -> bytes:
    return (run_folder(config) / "scores.csv.gz").read_bytes()


if __name__ == "__main__":
    main()

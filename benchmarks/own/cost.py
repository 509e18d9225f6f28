"""What a process costs: ``python -m benchmarks.own.cost LIMIT COMMAND...`` says it in JSON.

Run as a small process itself: on Linux the peak memory of a process begins with that of who
started it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from tempfile import TemporaryFile
from threading import Timer


def main(limit: float, *command: str) -> None:
    """Run a command to its end, or stop it after `limit` seconds, and print of it and its children

    wall and cpu (seconds; of all cores), memory (MB; peak resident size of the largest process) and
    stopped. One that fails ends this process too, with what it said.
    """
    with TemporaryFile("w+") as said:
        start, output = time.perf_counter(), {"stdout": said, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(command, **output, start_new_session=True)
        timer = Timer(limit, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        _, status, used = os.wait4(process.pid, 0)
        wall, process.returncode = time.perf_counter() - start, os.waitstatus_to_exitcode(status)
        timer.cancel()
        stopped = wall >= limit and process.returncode == -signal.SIGKILL
        if process.returncode and not stopped:
            said.seek(0)
            sys.exit(f"{command} failed: {process.returncode}\n{said.read()[-3000:]}")
    cpu, memory = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6
    print(json.dumps({"wall": wall, "cpu": cpu, "memory": memory, "stopped": stopped}))


if __name__ == "__main__":
    main(float(sys.argv[1]), *sys.argv[2:])

"""Does a run that goes on for long keep its memory, its speed and its files? Trains for so many minutes and looks.

    python -m tests.soak --minutes 30

A run of the swimmer with a small replay that is soon full, so that its memory has no reason to grow, and evaluations,
checkpoints and TensorBoard every few seconds, so that what leaks a little each time is seen. It ends by SIGTERM.
"""

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

OPTIONS = (
    "env.num_envs=64",
    "replay.capacity=64_000",
    "train.total_env_steps=100_000_000_000",
    "eval.every_env_steps=16_000",
    "eval.episodes=8",
    "checkpoint.every_env_steps=64_000",
    "logging.tensorboard=true",
)
GROWTH = 0.05  # of the memory of the middle third that the last may add; the first one is the allocator's
SPARE = 2  # files and threads that may come and go; a leak at every evaluation or checkpoint makes hundreds
EVERY = 2.0  # seconds between two looks


@dataclasses.dataclass(frozen=True)
class Sample:
    """What a process holds."""

    mib: float
    files: int
    threads: int


def look(pid: int) -> Sample:
    """Resident memory, open files and threads of a process, from Linux."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    return Sample(int(status["VmRSS"][0]) / 1024, len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"][0]))


def wait_for_rows(process: subprocess.Popen, log: Path, count: int) -> None:
    """Until the run has logged so many evaluations: it is compiled then, and every part has run."""
    while not (log.exists() and log.read_text().count("\n") >= count):
        if process.poll() is not None:
            raise RuntimeError(f"the run ended with status {process.returncode}")
        time.sleep(0.2)


def soak(directory: Path, seconds: float) -> tuple[list[Sample], list[dict], int]:
    """Samples over so many seconds of training, the rows it logged meanwhile, and the exit status after SIGTERM."""
    command = [sys.executable, "-m", "sacbrax.train", "swimmer", "--quiet", f"run.dir={directory}", *OPTIONS]
    process, log, samples = subprocess.Popen(command), directory / "metrics.jsonl", []
    try:
        wait_for_rows(process, log, 6)
        end = time.monotonic() + seconds
        while time.monotonic() < end and process.poll() is None:
            samples.append(look(process.pid))
            time.sleep(EVERY)
        process.send_signal(signal.SIGTERM)
        status = process.wait(120)
    finally:
        process.kill()
    return samples, [json.loads(line) for line in log.read_text().splitlines()], status


def report(samples: Sequence[Sample], rows: Sequence[dict], status: int) -> tuple[str, bool]:
    """Lines for people, and whether all is well."""
    count = len(samples) // 3
    thirds = [samples[:count], samples[count : 2 * count], samples[-count:]]
    early, middle, late = (sorted(sample.mib for sample in third)[len(third) // 2] for third in thirds)
    # A checkpoint that is being written has files and threads of its own: what stays is the least.
    files, threads = ([min(getattr(s, name) for s in third) for third in thirds] for name in ("files", "threads"))
    kept = files[-1] <= files[0] + SPARE and threads[-1] <= threads[0] + SPARE
    training = [row for row in rows if row["time/env_steps_per_second"]]
    part = max(1, len(training) // 3)
    speeds = [sorted(r["time/env_steps_per_second"] for r in p)[part // 2] for p in (training[:part], training[-part:])]
    fine = late <= middle * (1 + GROWTH) and kept and status == 143
    lines = [
        f"{rows[-1]['env_steps']:,} environment steps, {len(rows)} evaluations, {rows[-1]['wall_seconds']:.0f} s, "
        f"status {status} after SIGTERM",
        f"memory, median of each third: {early:.0f}, {middle:.0f} and {late:.0f} MiB",
        f"open files {files[0]} and {files[-1]}, threads {threads[0]} and {threads[-1]}",
        f"env steps per second, median of the first and of the last third: {speeds[0]:,.0f} and {speeds[1]:,.0f}",
    ]
    return "\n".join(lines), fine


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 if memory, files and threads stayed as they were and the run ended as told."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Train for long and look for growth.")
    parser.add_argument("--minutes", type=float, default=30.0, help="of training (default: 30)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        text, fine = report(*soak(Path(folder) / "run", 60 * args.minutes))
    print(text if fine else f"{text}\nsomething grows, or the run did not end as told")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())

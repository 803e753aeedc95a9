"""What nvidia-smi says of the GPUs that this process may use."""

import subprocess

LIMIT_S = 30.0
"""Time limit; it hangs on some broken GPUs."""


def ask(*fields: str) -> list[list[str]] | None:
    """The values of these fields for each GPU, without units; None where nvidia-smi is not there or fails."""
    query = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=LIMIT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if "No devices" in done.stdout + done.stderr:  # e.g. in a batch job that was given none
        return []
    rows = [line.split(", ") for line in done.stdout.splitlines()]
    failed = done.returncode != 0 or any(len(row) != len(fields) for row in rows)
    return None if failed else rows

"""A fake of NVIDIA's control program: a real daemon with a pid file, a socket, a server process and a log.

`make(folder, mode)` writes it as `nvidia-cuda-mps-control`. Modes: "good"; "fails" to start; "silent" once started;
"stubborn": neither `quit` nor SIGTERM ends it; "unmet": no client reaches it, so it lists no server.
"""

import sys
from pathlib import Path

PROGRAM = """#!{python}
import json, os, signal, socket, subprocess, sys
MODE, PIDS = {mode!r}, {pids!r}
pipes = os.environ["CUDA_MPS_PIPE_DIRECTORY"]
address = os.path.join(pipes, "control")

def remember(pid):
    with open(PIDS, "a") as file:
        file.write(f"{{pid}}\\n")

def serve():
    remember(os.getpid())
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)", "nvidia-cuda-mps-server"])
    remember(server.pid)
    with open(os.path.join(os.environ["CUDA_MPS_LOG_DIRECTORY"], "control.log"), "w") as log:
        json.dump(dict(os.environ), log)
    with open(os.path.join(pipes, "nvidia-cuda-mps-control.pid"), "w") as file:
        file.write(str(os.getpid()))
    while True:
        client, _ = listener.accept()
        command = client.recv(100).decode().split()
        if command[0] == "quit" and MODE != "stubborn":
            server.kill()
            server.wait()
            client.send(b"ended\\n")
            sys.exit()
        if MODE != "silent" and command[0] == "get_server_list":
            client.send(b"\\n" if MODE == "unmet" else f"{{server.pid}}\\n".encode())
            client.close()
        else:
            unanswered.append(client)

if sys.argv[1:] == ["-d"]:
    if MODE == "fails":
        print("starting\\nAn instance of this daemon is already running")
        sys.exit(1)
    listener, unanswered = socket.socket(socket.AF_UNIX), []
    listener.bind(address)
    listener.listen()
    if os.fork() == 0:
        os.setsid()
        serve()
else:
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect(address)
    except OSError:
        print("Cannot find MPS control daemon process")
        sys.exit(1)
    client.send(sys.stdin.readline().encode())
    sys.stdout.write(client.recv(1000).decode())
"""


def make(folder: Path, mode: str) -> Path:
    """Write the program into `folder`; its daemons and servers append their pids to `folder/pids`."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "nvidia-cuda-mps-control"
    program.write_text(PROGRAM.format(python=sys.executable, mode=mode, pids=str(folder / "pids")))
    program.chmod(0o755)
    return folder / "pids"

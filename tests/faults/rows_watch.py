"""The bad-input table: `xlite watch`."""
# ruff: noqa: E501  (a table: a row a line)

import atexit
import socket

from bad_inputs import Row, content, cut

_HELD = socket.socket()
_HELD.bind(("127.0.0.1", 0))
_HELD.listen()
atexit.register(_HELD.close)
BUSY = _HELD.getsockname()[1]

# fmt: off
WATCH = [
    Row("watch-no-study", "watch", "--study kdd", r"no study 'kdd' in .*; studies there: kd$", shell=True),
    Row("watch-no-name", "watch", "--study", r"--study: expected one argument"),
    Row("watch-results-nowhere", "watch", "--results {home}/no", r"no study 'kd' in .*/no; studies there: none"),
    Row("watch-results-file", "watch", "--results {home}/f", r"/f: is a file, not a folder", content("f", "")),
    Row("watch-study-cut", "watch", "", r"kd/study.json: not valid JSON", content("results/kd/study.json", '{"teacher": ')),
    Row("watch-database-cut", "watch", "", r"study.db.*(not a database|malformed|no study 'kd'|disk image|disk I/O)", cut("results/kd/study.db", 5000)),
    Row("watch-storage-word", "watch", "--storage study.db", r"--storage: Could not parse"),
    Row("watch-storage-password", "watch", "--storage oracle://tiger:SECRET@localhost/base", r"pip install the database's driver"),
    Row("watch-storage-nowhere", "watch", "--storage sqlite:////no/such/folder/study.db", r"no study 'kd' in sqlite"),
    Row("watch-port-word", "watch", "--port http", r"--port: got 'http'; write a port from 1 to 65535"),
    Row("watch-port-large", "watch", "--dashboard-port 65536", r"--dashboard-port: got '65536'; write a port"),
    Row("watch-port-none", "watch", "--port 0", r"--port: got '0'; write a port"),
    Row("watch-port-taken", "watch", f"--port {BUSY}", rf"--port {BUSY}: address already in use; name another, or leave it out for a free one$", shell=True),
    Row("watch-dashboard-port-taken", "watch", f"--dashboard-port {BUSY}", rf"--dashboard-port {BUSY}: address already in use"),
    Row("watch-ports-same", "watch", "--port 54321 --dashboard-port 54321", r"--dashboard-port 54321: address already in use"),
]
# fmt: on

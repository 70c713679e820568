#!/usr/bin/env python3
"""What a request costs at the edge, in turns with nginx, haproxy and caddy, within one run:

- processor time of the server for each request (user and system, all its processes, from /proc);
- requests a second, p50 and p99 as the load sees them;
- peak memory (VmHWM, summed over the server's processes).

Every turn starts a fresh server with one worker, on a processor of its own where there are two or
more; the load and the application (nginx with 1 kB from memory) have the others. All sides have the
same certificate, the same hosts, no access log, and keep connections to the application. The static
row of haproxy stays empty: it serves no files.

Listens on 127.0.0.1 alone. Prints a table for each row, then `name: ours, nginx, haproxy, caddy,
ratio`, and writes target/bench/edge.json: rows of {name, ours, nginx, haproxy, caddy, ratio, …}
(medians; ratio = ours / the best of the three; null with words in `why` where there is no figure).
"""

import argparse
import asyncio
import gzip
import hashlib
import http.client
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
ZARPAR = TARGET / "release/zarpar"
HOST = "bench.test"
HOSTS = [f"h{number:03}.{HOST}" for number in range(1000)]
PAGE = b"x" * 1024
TOGETHER = 32  # requests at a time; what every side keeps open to the application
IDLE = 1000
IDLE_IN = 60  # seconds until all are open; no side closes one sooner
READY_IN = 20.0  # seconds from a server's start to its first answer
NEEDED = ("nginx", "wrk", "h2load", "hey", "openssl", "taskset")
STARTED, FAILURES = [], []


class Failed(Exception):
    """What was expected, and what was found."""


class Lacking(Exception):
    """Why a side has no figure in a row."""


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3, help="turns of each server in each row (default 3)")
    options.add_argument("--seconds", type=int, default=4, help="load in each turn (default 4)")
    options.add_argument("--row", default="", help="only the rows whose name has this text (edge.json is not written)")
    options.add_argument("--no-build", action="store_true", help="measure target/release/zarpar as it is")
    options = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    folder = Path(tempfile.mkdtemp(prefix="zarpar-bench."))
    try:
        set_up(options.no_build)
        load_processors = choose_processors()
        stock = Stock(folder)
        backend = Backend(stock, folder / "application")
        backend.start(processors=load_processors)
        stock.backend = backend.http
        rows = [row for row in ROWS if options.row in row.name]
        report = [measure(row, stock, options) for row in rows]
    except Failed as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        # A second Ctrl-C must not leave half of it behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for server in STARTED:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print_summary(report)
    if not options.row:
        path = TARGET / "bench/edge.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=2) + "\n")
        say(f"written to {path}")
    return 1 if FAILURES else 0


# The rows.


class Row:
    """One thing to measure: what is asked, how, and which figure stands for it."""

    def __init__(self, name, load, *, tls=False, path="/", gzip=False, hosts=(HOST,), figure="cpu_us"):
        self.name, self.load, self.tls, self.path = name, load, tls, path
        self.gzip, self.hosts, self.figure = gzip, hosts, figure
        self.static = path.startswith("/static/")

    def headers(self):
        return {"Accept-Encoding": "gzip"} if self.gzip else {}


def measure(row, stock, options):
    """All turns of one row."""
    turns, why = {side.name: [] for side in SIDES}, {}
    for number in range(1, options.rounds + 1):
        for side in SIDES:
            if side.name in why:
                continue
            try:
                turns[side.name].append(turn(row, side, stock, options.seconds))
            except Lacking as lacking:
                why[side.name] = str(lacking)
            except Failed as failure:
                # The other rows are worth having; the run still ends with an error.
                why[side.name] = f"failed: {str(failure).splitlines()[0]}"
                turns[side.name].clear()
                FAILURES.append(failure)
                print(f"error: {row.name}: {failure}", file=sys.stderr, flush=True)
    found = {
        name: {figure: statistics.median(turn[figure] for turn in seen) for figure in seen[0]}
        for name, seen in turns.items()
        if seen
    }
    value = {side.name: round(found[side.name][row.figure], 2) if side.name in found else None for side in SIDES}
    best = min((value[name] for name in ("nginx", "haproxy", "caddy") if value[name] is not None), default=None)
    ratio = round(value["ours"] / best, 3) if value["ours"] is not None and best else None
    report = {"name": row.name, **value, "ratio": ratio, "unit": UNITS[row.figure], "why": why, "figures": found,
              "rounds": {name: [round(turn[row.figure], 2) for turn in seen] for name, seen in turns.items()}}
    print_row(report)
    return report


def turn(row, side, stock, seconds):
    """A fresh server under one load."""
    with tempfile.TemporaryDirectory(dir=stock.folder, prefix=f"{side.name}.") as folder:
        server = side(stock, Path(folder))
        try:
            server.start(row)
            if row.load is not idle:
                row.load(row, server, 1)  # what is opened, allocated and learned once
            before = server.cpu()
            seen = row.load(row, server, seconds)
            cpu = server.cpu() - before
            rss = server.peak_rss()
            server.still_there()
        finally:
            server.stop()
    return {"cpu_us": cpu / seen["requests"] * 1e6, "rate": seen["rate"], "p50_ms": seen["p50_ms"],
            "p99_ms": seen["p99_ms"], "rss_mib": rss / 2**20}


# The loads. Each returns {requests, rate, p50_ms, p99_ms}, and fails when an answer was not a 2xx.


def wrk(row, server, seconds):
    """HTTP/1.1, connections kept."""
    command = ["wrk", "-t1", f"-c{TOGETHER}", f"-d{seconds}s", "--latency"]
    for name, value in row.headers().items():
        command += ["-H", f"{name}: {value}"]
    if len(row.hosts) > 1:
        script = server.folder / "hosts.lua"
        script.write_text(WRK_HOSTS.format(count=len(row.hosts), domain=HOST, path=row.path))
        command += ["-s", script]
    else:
        command += ["-H", f"Host: {HOST}"]
    text = generate(command + [f"http://127.0.0.1:{server.http}{row.path}"], seconds)
    wrong = re.search(r"Non-2xx or 3xx responses: \d+|(connect|read|write) [1-9]\d*,", text)
    if wrong:
        raise Failed(f"{server.name}: expected only 2xx, found `{wrong[0]}`")

    def share(percent):
        number, unit = find(rf"(?m)^\s+{percent}%\s+([\d.]+)(us|ms|s|m)$", text).groups()
        return float(number) * {"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}[unit]

    return {"requests": int(find(r"(\d+) requests in", text)[1]), "p50_ms": share(50), "p99_ms": share(99),
            "rate": float(find(r"Requests/sec:\s+([\d.]+)", text)[1])}


WRK_HOSTS = """\
local requests, next = {{}}, 0
function init()
  for number = 0, {count} - 1 do
    requests[number] = wrk.format("GET", "{path}", {{["Host"] = string.format("h%03d.{domain}", number)}})
  end
end
function request()
  next = (next + 1) % {count}
  return requests[next]
end
"""


def h2load(row, server, seconds):
    """HTTP/2 over TLS, eight connections with four streams each."""
    log = server.folder / "h2load.log"
    log.unlink(missing_ok=True)
    command = ["h2load", "-t1", "-c8", f"-m{TOGETHER // 8}", f"-D{seconds}", f"--log-file={log}",
               f"--connect-to=127.0.0.1:{server.https}", "-H", f":authority: {HOST}"]
    for name, value in row.headers().items():
        command += ["-H", f"{name}: {value}"]
    text = generate(command + [f"https://{HOST}:{server.https}{row.path}"], seconds)
    done, failed = find(r"(\d+) done, \d+ succeeded, (\d+) failed", text).groups()
    status = find(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    by_both = "TLS Protocol: TLSv1.3\n" in text and "Application protocol: h2\n" in text
    if not by_both or not int(done) or int(failed) or any(map(int, status.groups()[1:])):
        raise Failed(f"{server.name}: expected only 2xx by h2 and TLS 1.3, found:\n{text[-1500:]}")
    with log.open() as lines:
        waits = [int(line.split("\t")[2]) / 1e3 for line in lines]
    return {"requests": int(done), "rate": float(find(r"([\d.]+) req/s", text)[1])} | shares(waits)


def handshakes(row, server, seconds):
    """A new TLS connection for every request. hey keeps no sessions, so every handshake is a full one,
    and it sends the host's name (`openssl s_time` is cheaper, but sends none)."""
    text = generate(["hey", "-z", f"{seconds}s", "-c", "8", "-cpus", "1", "-disable-keepalive", "-disable-compression",
                     "-host", HOST, f"https://127.0.0.1:{server.https}{row.path}"], seconds)
    answers = re.findall(r"^\s+\[(\d+)\]\s+(\d+) responses", text, re.M)
    if [status for status, _ in answers] != ["200"] or "Error distribution" in text:
        raise Failed(f"{server.name}: expected only 200, found:\n{text[-1500:]}")

    def share(percent):
        return float(find(rf"{percent}%+ in ([\d.]+) secs", text)[1]) * 1e3

    return {"requests": int(answers[0][1]), "p50_ms": share(50), "p99_ms": share(99),
            "rate": float(find(r"Requests/sec:\s+([\d.]+)", text)[1])}


def idle(row, server, _seconds):
    """Connections that made one request and stay open, all at once. The memory is read before they go;
    the processor time is that of a handshake and a request."""
    try:
        return asyncio.run(asyncio.wait_for(open_and_hold(row, server), IDLE_IN))
    except (OSError, EOFError, TimeoutError, asyncio.TimeoutError) as error:
        raise Failed(f"{server.name}: expected {IDLE} connections within {IDLE_IN} s, found {error!r}") from None


async def open_and_hold(row, server):
    context, gate, waits, held = visitor_tls(["http/1.1"]), asyncio.Semaphore(TOGETHER), [], []
    ask = f"GET {row.path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()

    async def visit():
        async with gate:
            began = time.monotonic()
            reader, writer = await asyncio.open_connection("127.0.0.1", server.https, ssl=context, server_hostname=HOST)
            held.append((reader, writer))
            writer.write(ask)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise Failed(f"{server.name}: expected 200, found {head[:40]}")
            length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
            await reader.readexactly(length)
            waits.append((time.monotonic() - began) * 1e3)

    began = time.monotonic()
    try:
        await asyncio.gather(*(visit() for _ in range(IDLE)))
        took = time.monotonic() - began
        await asyncio.sleep(1)
        closed = sum(reader.at_eof() for reader, _ in held)
        if closed:
            raise Failed(f"{server.name}: expected {IDLE} open connections, {closed} were closed")
    finally:
        for _, writer in held:
            writer.transport.abort()
    return {"requests": IDLE, "rate": IDLE / took} | shares(waits)


def find(pattern, text):
    """What a load generator must have printed."""
    found = re.search(pattern, text)
    if not found:
        raise Failed(f"expected `{pattern}` in what the load printed:\n{text[-1500:]}")
    return found


def shares(waits):
    cuts = statistics.quantiles(waits, n=100)
    return {"p50_ms": cuts[49], "p99_ms": cuts[98]}


def generate(command, seconds):
    """What a load generator printed."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=seconds + 30)
    except subprocess.TimeoutExpired:
        raise Failed(f"`{command[0]}` did not end within {seconds + 30} s") from None
    if done.returncode:
        raise Failed(f"`{command[0]}` ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


class Stock:
    """What every side serves from: the certificate, the style sheet, the application's port."""

    def __init__(self, folder):
        self.folder, self.backend = folder, None
        self.key, self.certificate, self.pem = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
            "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}", "-keyout", self.key, "-out", self.certificate)
        self.pem.write_bytes(self.key.read_bytes() + self.certificate.read_bytes())
        self.pem.chmod(0o600)
        self.der = ssl.PEM_cert_to_DER_cert(self.certificate.read_text())
        self.css = style_sheet()
        self.css_name = css_name(self.css)
        self.files = folder / "files"
        (self.files / self.css_name).parent.mkdir(parents=True)
        (self.files / self.css_name).write_bytes(self.css)


def style_sheet():
    """22 kB that compress as a style sheet does (to about a fifth), the same in every run."""
    choose = random.Random(22)
    names = ["header", "module", "content", "sidebar", "button", "field", "table", "footer", "nav", "form"]
    rules = ["margin", "padding", "border-width", "font-size", "line-height", "min-width", "top", "left"]
    text = ""
    while len(text) < 22_000:
        body = "".join(
            f"    {choose.choice(rules)}: {choose.randrange(64)}px;\n    color: var(--{choose.choice(names)}-fg);\n"
            for _ in range(choose.randrange(1, 4))
        )
        text += f".{choose.choice(names)} .{choose.choice(names)}-{choose.randrange(99)}:hover {{\n{body}}}\n\n"
    return text[:22_000].encode()


def css_name(content):
    """The name that Django's ManifestStaticFilesStorage gives it."""
    return f"css/site.{hashlib.md5(content).hexdigest()[:12]}.css"


# The servers.


class Server:
    """A process of this run, with its children. `write` puts its files into the folder and returns the
    command."""

    name = program = None
    environment = {}

    def __init__(self, stock, folder):
        self.stock, self.folder, self.process = stock, folder, None
        self.log = folder / "log"

    def start(self, row=None, processors=None):
        self.folder.mkdir(exist_ok=True)
        if shutil.which(self.program) is None:
            raise Lacking(f"{self.program} is not installed (scripts/setup --bench)")
        self.http, self.https = free_ports(2)
        command = [*pin(processors or SERVER_PROCESSORS), *self.write(row)]
        home = {"HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                                            env=os.environ | home | self.environment, start_new_session=True)
        STARTED.append(self)
        self.await_answer(row)

    def write(self, row):
        raise NotImplementedError

    def await_answer(self, row):
        deadline = time.monotonic() + READY_IN
        while True:
            try:
                return self.check(row)
            except (OSError, http.client.HTTPException) as error:
                self.still_there()
                if time.monotonic() > deadline:
                    raise Failed(f"{self.name} does not answer ({error!r}):\n{self.tail()}") from None
            time.sleep(0.05)

    def check(self, row):
        """One request, looked at: the load only counts."""
        tls, path, host, headers = (row.tls, row.path, row.hosts[-1], row.headers()) if row else (False, "/", HOST, {})
        protocols = ["h2"] if row and row.load is h2load else ["http/1.1"]
        raw = socket.create_connection(("127.0.0.1", self.https if tls else self.http), timeout=5)
        with raw:
            if tls:
                raw = visitor_tls(protocols).wrap_socket(raw, server_hostname=host)
                if raw.version() != "TLSv1.3":
                    raise Failed(f"{self.name}: expected TLS 1.3, found {raw.version()}")
                if raw.getpeercert(binary_form=True) != self.stock.der:
                    raise Failed(f"{self.name}: expected this run's certificate, found another")
                if protocols == ["h2"]:
                    if raw.selected_alpn_protocol() != "h2":
                        raise Failed(f"{self.name}: expected ALPN h2, found {raw.selected_alpn_protocol()}")
                    return  # h2load looks at the answers
            connection = http.client.HTTPConnection("127.0.0.1")
            connection.sock = raw
            connection.request("GET", path, headers={"Host": host, **({"Accept-Encoding": "identity"} | headers)})
            answer = connection.getresponse()
            body = answer.read()
            raw.close()
        encoding = answer.getheader("Content-Encoding", "identity")
        if row and row.gzip and encoding != "gzip":
            raise Lacking(f"answers without compression (Content-Encoding: {encoding})")
        expected = self.stock.css if path != "/" else PAGE
        body = gzip.decompress(body) if encoding == "gzip" else body
        if answer.status != 200 or body != expected:
            found = f"{answer.status} and {len(body)}"
            raise Failed(f"{self.name}: expected 200 and {len(expected)} bytes, found {found}:\n{self.tail()}")

    def still_there(self):
        if self.process.poll() is not None:
            raise Failed(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")

    def tail(self):
        return self.log.read_text(errors="replace")[-2000:]

    def cpu(self):
        """Seconds of processor time, user and system, of all threads of all processes."""
        ticks = (stat_fields(pid) for pid in tree(self.process.pid))
        return sum(int(fields[11]) + int(fields[12]) for fields in ticks) / os.sysconf("SC_CLK_TCK")

    def peak_rss(self):
        """Bytes, the sum of each process's own peak."""
        return sum(
            int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024
            for pid in tree(self.process.pid)
        )

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        family = tree(self.process.pid)
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in family[1:]:
            # Still of this run only while its program and session are: the number may be another's.
            try:
                if os.getsid(pid) == family[0]:
                    os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


class Ours(Server):
    """The edge alone, from its last table. It takes as many workers as it has processors: one."""

    name, program = "ours", str(ZARPAR)

    def write(self, row):
        data = self.folder / "data"
        config = self.folder / "zarpar.toml"
        # Like all sides, without an access log.
        config.write_text('[edge]\naccess_log = "off"\n')
        root = data / "static/bench"
        static = {"url": "/static/", "root": str(root), "sets": [self.static_set(root)]}
        routes = [
            {"app": f"app-{number}", "release": "v1", "hosts": [host], "targets": [f"127.0.0.1:{self.stock.backend}"],
             "static": static}
            for number, host in enumerate(row.hosts)
        ]
        (data / "edge").mkdir()
        (data / "edge/table.json").write_text(json.dumps({"generation": 1, "routes": routes}))
        if row.tls:
            certificates = data / "certificates" / HOST
            certificates.mkdir(parents=True)
            shutil.copy(self.stock.pem, certificates / "certificate.pem")
        command = [ZARPAR, "router", "--config", config, "--data", data, "--http", f"127.0.0.1:{self.http}"]
        # Without it, it neither listens with TLS nor orders certificates.
        return [*command, "--https", f"127.0.0.1:{self.https}"] if row.tls else command

    def static_set(self, root):
        """A set of one file, with the variant that the control plane makes beside the blob."""
        digest = hashlib.sha256(self.stock.css).hexdigest()
        blob = root / "blobs" / digest[:2] / digest
        blob.parent.mkdir(parents=True)
        blob.write_bytes(self.stock.css)
        blob.with_name(f"{digest}.gz").write_bytes(gzip.compress(self.stock.css, 9, mtime=0))
        index = f"zarpar-static 1\n{digest} {len(self.stock.css)} 1700000000 i {self.stock.css_name}\n"
        identity = hashlib.sha256(index.encode()).hexdigest()
        (root / "sets").mkdir()
        (root / "sets" / identity).write_text(index)
        return identity

    def await_answer(self, row):
        if row.tls:
            # Its door without TLS opens at the same time: when that is open, this one is, or never will be.
            self.await_door(self.http)
            try:
                socket.create_connection(("127.0.0.1", self.https), timeout=2).close()
            except OSError:
                raise Lacking("the edge does not listen with TLS") from None
        super().await_answer(row)

    def await_door(self, port):
        deadline = time.monotonic() + READY_IN
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=2).close()
            except OSError:
                self.still_there()
                if time.monotonic() > deadline:
                    raise Failed(f"{self.name} does not listen:\n{self.tail()}") from None
            time.sleep(0.05)


class Nginx(Server):
    """As the deploy guides write it, with connections to the application kept."""

    name = program = "nginx"

    def write(self, row):
        tls = ""
        if row.tls:
            # The protocols are the default since 1.23; Debian 12 has 1.22, without TLS 1.3.
            tls = f"""\
ssl_certificate {self.stock.certificate};
ssl_certificate_key {self.stock.key};
ssl_protocols TLSv1.2 TLSv1.3;
"""
        listen = f"listen 127.0.0.1:{self.http};" + (f" listen 127.0.0.1:{self.https} ssl http2;" if row.tls else "")
        servers = "".join(
            f"server {{ {listen} server_name {host};\n"
            f"  location /static/ {{ alias {self.stock.files}/; expires 30d; }}\n"
            "  location / { proxy_pass http://application; } }\n"
            for host in row.hosts
        )
        return self.command(f"""\
{tls}types {{ text/css css; }}
sendfile on;
tcp_nopush on;
gzip on;
gzip_comp_level 6;
gzip_types text/css;
server_names_hash_max_size 4096;
upstream application {{
  server 127.0.0.1:{self.stock.backend};
  keepalive {TOGETHER};
  keepalive_requests 1000000000;
}}
proxy_http_version 1.1;
proxy_set_header Connection "";
proxy_set_header Host $host;
proxy_set_header X-Real-IP $remote_addr;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
proxy_set_header X-Forwarded-Proto $scheme;
{servers}""")

    def command(self, http_block):
        config = self.folder / "nginx.conf"
        config.write_text(f"""\
daemon off;
worker_processes 1;
pid {self.folder}/nginx.pid;
error_log {self.folder}/error.log error;
{"user root root;" if os.geteuid() == 0 else ""}
events {{ worker_connections 4096; }}
http {{
access_log off;
keepalive_requests 1000000000;
client_body_temp_path {self.folder}/body;
proxy_temp_path {self.folder}/proxy;
fastcgi_temp_path {self.folder}/fastcgi;
uwsgi_temp_path {self.folder}/uwsgi;
scgi_temp_path {self.folder}/scgi;
{http_block}
}}
""")
        return ["nginx", "-e", self.folder / "error.log", "-p", self.folder, "-c", config]

    def tail(self):
        errors = self.folder / "error.log"
        return super().tail() + (errors.read_text()[-2000:] if errors.exists() else "")


class Backend(Nginx):
    """The application: 1 kB from memory, connections kept."""

    name = "the application"

    def write(self, _row):
        body = PAGE.decode()
        return self.command(f"""\
default_type text/plain;
server {{ listen 127.0.0.1:{self.http}; location / {{ return 200 "{body}"; }} }}""")


class Haproxy(Server):
    """A map from host to backend where there are many."""

    name = program = "haproxy"

    def write(self, row):
        if row.static:
            raise Lacking("haproxy serves no files")
        hosts = self.folder / "hosts.map"
        hosts.write_text("".join(f"{host} application\n" for host in row.hosts))
        tls = f"  bind 127.0.0.1:{self.https} ssl crt {self.stock.pem} alpn h2,http/1.1\n" if row.tls else ""
        (self.folder / "haproxy.cfg").write_text(f"""\
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 2s
  timeout client 75s
  timeout server 60s
  timeout http-request 60s
  timeout http-keep-alive 75s
  option forwardfor
  http-reuse always
frontend visitors
  bind 127.0.0.1:{self.http}
{tls}  http-request set-header X-Forwarded-Proto {"https if { ssl_fc }" if row.tls else "http"}
  use_backend %[req.hdr(host),field(1,:),lower,map_str({hosts})]
backend application
  server application 127.0.0.1:{self.stock.backend}
""")
        return ["haproxy", "-db", "-f", self.folder / "haproxy.cfg"]


class Caddy(Server):
    """One site with all hosts: caddy searches a long list of hosts, but goes through sites one by one."""

    name = program = "caddy"
    environment = {"GOMAXPROCS": "1"}

    def write(self, row):
        # A certificate makes a site one with TLS, so that each door is a site of its own.
        doors = [(f"http://{{}}:{self.http}", "")]
        if row.tls:
            doors.append((f"https://{{}}:{self.https}", f"  tls {self.stock.certificate} {self.stock.key}\n"))
        site = f"""\
  handle_path /static/* {{
    root * {self.stock.files}
    encode gzip
    header Cache-Control "max-age=2592000"
    file_server
  }}
  handle {{
    reverse_proxy 127.0.0.1:{self.stock.backend}
  }}
"""
        (self.folder / "Caddyfile").write_text("""\
{
  admin off
  auto_https off
  default_bind 127.0.0.1
  log {
    level ERROR
  }
  servers {
    protocols h1 h2
  }
}
""" + "".join(f"{', '.join(map(address.format, row.hosts))} {{\n{tls}{site}}}\n" for address, tls in doors))
        return ["caddy", "run", "--adapter", "caddyfile", "--config", self.folder / "Caddyfile"]


SIDES = [Ours, Nginx, Haproxy, Caddy]
STATIC = f"/static/{css_name(style_sheet())}"
ROWS = [
    Row("proxy h1 keep-alive 1 kB", wrk),
    Row("proxy h2 over TLS 1 kB", h2load, tls=True),
    Row("TLS full handshake and one request", handshakes, tls=True),
    Row("static 22 kB css identity", wrk, path=STATIC),
    Row("static 22 kB css compressed", wrk, path=STATIC, gzip=True),
    Row("1,000 idle TLS connections, peak RSS", idle, tls=True, figure="rss_mib"),
    Row("proxy h1 in a table of 1,000 hosts", wrk, hosts=HOSTS),
]
UNITS = {"cpu_us": "microseconds of processor time a request", "rss_mib": "MiB"}


# What is printed.


def print_row(report):
    print(f"\n{report['name']}")
    print(f"{'':<10}{'CPU µs/request':>16}{'req/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'peak RSS MiB':>14}")
    for side in SIDES:
        seen = report["figures"].get(side.name)
        if seen:
            print(f"{side.name:<10}{seen['cpu_us']:>16.1f}{seen['rate']:>10.0f}{seen['p50_ms']:>9.2f}"
                  f"{seen['p99_ms']:>9.2f}{seen['rss_mib']:>14.1f}")
        else:
            print(f"{side.name:<10}  {report['why'].get(side.name, '')}")
    say(line(report))


def line(report):
    figures = [report[key] for key in ("ours", "nginx", "haproxy", "caddy", "ratio")]
    return f"{report['name']}: " + ", ".join("-" if figure is None else str(figure) for figure in figures)


def print_summary(rows):
    print("\nname: ours, nginx, haproxy, caddy, ratio (CPU µs a request, or MiB; ratio to the best of the three)")
    for row in rows:
        print(line(row))
    print("\ngoals")
    by_name = {row["name"]: row for row in rows}
    for row in rows:
        if row["unit"] == UNITS["cpu_us"]:
            goal(f"{row['name']}: no more CPU than the best of the three", row["ratio"], 1.0)
        memory = quotient(figure(row, "ours", "rss_mib"), figure(row, "nginx", "rss_mib"))
        goal(f"{row['name']}: peak RSS against nginx", memory, 1.5)
    tls = by_name.get(ROWS[2].name)
    if tls:
        goal("TLS full handshake: CPU against nginx", quotient(tls["ours"], tls["nginx"]), 0.7)
    plain, packed = by_name.get(ROWS[3].name), by_name.get(ROWS[4].name)
    if plain and packed:
        goal("static compressed: CPU against nginx without compression", quotient(packed["ours"], plain["nginx"]), 1.0)


def goal(text, found, limit):
    if found is None:
        say(f"  not measured  {text}: limit {limit}")
    else:
        say(f"  {'reached' if found <= limit else 'missed':<12}  {text}: {found:.2f}, limit {limit}")


def figure(row, side, name):
    return row["figures"].get(side, {}).get(name)


def quotient(one, other):
    return one / other if one is not None and other else None


# The machine.

SERVER_PROCESSORS = ()


def set_up(as_it_is):
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, ["127.0.0.1", os.environ.get("no_proxy")]))
    if any(shutil.which(program) is None for program in (*NEEDED, "haproxy", "caddy")):
        say("set-up: scripts/setup --bench")
        run(REPOSITORY / "scripts/setup", "--bench", cwd=REPOSITORY)
    absent = sorted(program for program in NEEDED if shutil.which(program) is None)
    if absent:
        raise Failed(f"expected {', '.join(absent)} after scripts/setup --bench")
    if not as_it_is:
        say("set-up: cargo build --release")
        run("cargo", "build", "--release", "--locked", "--package", "zarpar", cwd=REPOSITORY)
    if not ZARPAR.exists():
        raise Failed(f"expected {ZARPAR}\nhint: scripts/bench edge, without --no-build")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65536)), hard))
    for program, flag in (("nginx", "-v"), ("haproxy", "-v"), ("caddy", "version")):
        if shutil.which(program):
            shown = subprocess.run([program, flag], text=True, capture_output=True)
            say(f"{program}: {(shown.stdout + shown.stderr).splitlines()[0]}")


def choose_processors():
    """The first for the servers, the others for the load; one alone is shared."""
    global SERVER_PROCESSORS
    mine = sorted(os.sched_getaffinity(0))
    SERVER_PROCESSORS, rest = mine[:1], mine[1:] or mine
    os.sched_setaffinity(0, rest)
    say(f"processors: the server on {mine[0]}, the load on {', '.join(map(str, rest))}")
    return rest


def pin(processors):
    return ["taskset", "-c", ",".join(map(str, processors))]


def tree(root):
    """A process and all below it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := stat_fields(entry.name)):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(parents.get(pid, ()))
    return found


def stat_fields(pid):
    """/proc/PID/stat from the state on; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def visitor_tls(protocols):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the certificate is this run's own
    context.set_alpn_protocols(protocols)
    return context


def run(*words, **options):
    """A command that must succeed; its standard output."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, text=True, capture_output=True, **options)
    if done.returncode:
        command = " ".join(map(str, words[:4]))
        raise Failed(f"`{command} …` ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


def say(text):
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""How long a forge waits for the answer to a webhook: 50 signed deliveries a second while a build
runs, over connections of their own, as forges open them.

The app follows a repository behind an sshd of this run, opened by the deploy key that zarpar made.
Its Dockerfile keeps one processor busy for as long as the measurement takes; every delivery names the
head of that moment, which moves once a second, so looks at the repository go on all the time too.
Checked besides: every answer is 202, at most one deployment is at work and one waits, and in the end
the newest commit is live. The goal is a p99 below one second.

Prints it, writes target/bench/webhooks.json: {rate, seconds, deliveries, p50_ms, p99_ms, longest_ms,
more_mib}, where more_mib is how far the peak memory of `zarpar serve` rose.
"""

import argparse
import hashlib
import hmac
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import deploy
from deploy import LABEL, REPOSITORY, TARGET, Failed, free_ports, remove_docker_objects, run, say, stop

GOAL = 1000.0  # ms, the 99th percentile
SENDERS = 10
LIMIT = 300  # seconds until the newest commit is live

SERVER = """import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(open("VERSION", "rb").read())
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"""
DOCKERFILE = "FROM python:3.13-slim\nWORKDIR /app\nCOPY . .\nUSER 10001\nCMD [\"python3\", \"server.py\"]\n"
BUSY = "RUN timeout {} python3 -c 'while True: pass' || true\n"


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rate", type=int, default=50, help="deliveries a second (default 50)")
    options.add_argument("--seconds", type=int, default=30, help="of deliveries (default 30)")
    options.add_argument("--binary", type=Path, help="the zarpar to measure (default: the release build, made here)")
    chosen = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ.update(GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1")
    if not Path("/usr/sbin/sshd").exists():
        print("error: expected sshd, for the forge of this measurement\nhint: apt-get install openssh-server", file=sys.stderr)
        return 1

    # Where the home is, because sshd trusts no folder below /tmp.
    folder = Path(tempfile.mkdtemp(prefix=".zarpar-bench.", dir=Path.home()))
    server = None
    try:
        if chosen.binary is None:
            run("cargo", "build", "--release", "--locked", "--package", "zarpar", cwd=REPOSITORY)
        server = Server(folder, (chosen.binary or TARGET / "release/zarpar").resolve())
        report = measure(server, chosen.rate, chosen.seconds)
    except Failed as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        # A second Ctrl-C must not leave half of it behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if server:
            server.close()
        remove_docker_objects()
        shutil.rmtree(folder, ignore_errors=True)
    path = TARGET / "bench/webhooks.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\n{report['deliveries']} deliveries, {report['rate']} a second, during a build: p50 {report['p50_ms']:.1f} ms, "
          f"p99 {report['p99_ms']:.1f} ms (goal {GOAL:.0f}), longest {report['longest_ms']:.1f} ms, "
          f"{report['more_mib']:.1f} MiB more memory\n")
    say(f"written to {path}")
    return 0 if report["p99_ms"] < GOAL else 1


def measure(server, rate, seconds):
    server.commit("slow", DOCKERFILE + BUSY.format(seconds + 10))
    server.deliver("first", server.head)
    server.wait(lambda: server.newest()["state"] == "building", "the build")
    server.commit("quick", DOCKERFILE)
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")
    before = memory(server.process.pid, "VmRSS")
    say(f"a build runs; {rate} deliveries a second for {seconds} s")
    times, failures, begun = [], [], time.monotonic()

    def send(sender):
        for number in range(sender, rate * seconds, SENDERS):
            time.sleep(max(0, begun + number / rate - time.monotonic()))
            asked = time.monotonic()
            try:
                server.deliver(f"burst-{number}", server.head)
            except (Failed, OSError) as failure:
                failures.append(failure)
                return
            times.append(time.monotonic() - asked)

    senders = [threading.Thread(target=send, args=(sender,)) for sender in range(SENDERS)]
    for sender in senders:
        sender.start()
    number = 0
    while any(sender.is_alive() for sender in senders):
        number += 1
        server.commit(f"version {number}", DOCKERFILE)
        states = [one["state"] for one in server.deployments()]
        waiting = states.count("queued")
        working = len([state for state in states if state not in ("queued", "live", "failed", "superseded", "cancelled")])
        if waiting > 1 or working > 1:
            raise Failed(f"expected one deployment at work and one waiting, found {working} and {waiting}")
        time.sleep(1)
    if failures:
        raise Failed(failures[0])
    first = server.deployments()[-1]
    if first["state"] != "building":
        raise Failed(f"expected a build all the time, found `{first['state']}`\nhint: --seconds with a smaller number")
    more = memory(server.process.pid, "VmHWM") - before
    server.commit("the last", DOCKERFILE)
    server.deliver("last", server.head)
    say("the last commit is delivered; waiting until it is live")
    server.wait(lambda: server.live() == server.head, "the newest commit to be live")
    times.sort()
    at = lambda share: 1000 * times[min(len(times) - 1, int(share * len(times)))]
    return {"rate": rate, "seconds": seconds, "deliveries": len(times), "p50_ms": round(at(0.5), 1),
            "p99_ms": round(at(0.99), 1), "longest_ms": round(1000 * times[-1], 1), "more_mib": round(more / 2**20, 1)}


def memory(pid, name):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise Failed(f"expected `{name}` in /proc/{pid}/status")


class Server:
    """`zarpar serve` of this run, and the forge that its app follows."""

    def __init__(self, folder, binary):
        self.folder, self.binary, self.data = folder, binary, folder / "data"
        self.http, self.console, self.port = free_ports(3)
        self.project, self.head = folder / "work", None
        run("git", "init", "-q", "--initial-branch=main", self.project)
        (self.project / "server.py").write_text(SERVER)
        self.sshd = self.start_sshd()
        config = folder / "zarpar.toml"
        key, value = LABEL.split("=")
        config.write_text(f'[engine]\nlabels = {{ "{key}" = "{value}" }}\n[fetch]\nallow = ["127.0.0.1"]\nports = [{self.port}]\n')
        self.log = folder / "serve.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [binary, "serve", "--config", config, "--data", self.data, "--http", f"127.0.0.1:{self.http}",
                 "--https", "127.0.0.1:0", "--console", f"127.0.0.1:{self.console}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while deploy.ask(("127.0.0.1", self.console), "localhost", "/healthz", "()", 5)[1]:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"`zarpar serve` does not answer:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.05)
        self.client("apps", "create", "tienda")
        user = run("id", "-un").strip()
        made = json.loads(self.client("webhooks", "enable", "tienda", "--provider", "github", "--json",
                                      "--repo", f"ssh://{user}@127.0.0.1:{self.port}/yo/tienda.git"))
        self.secret = made["secret"].encode()
        (folder / "authorized").write_text(made["deploy_key"] + "\n")

    def client(self, *words):
        return run(self.binary, *words, env=os.environ | {"ZARPAR_DATA": str(self.data)})

    def commit(self, version, dockerfile):
        (self.project / "VERSION").write_text(version)
        (self.project / "Dockerfile").write_text(dockerfile)
        run("git", "-C", self.project, "add", "--all")
        run("git", "-C", self.project, "-c", "user.name=bench", "-c", "user.email=bench@localhost",
            "-c", "commit.gpgSign=false", "commit", "-q", "-m", version)
        self.head = run("git", "-C", self.project, "rev-parse", "HEAD").strip()

    def deliver(self, delivery, commit):
        body = json.dumps({"ref": "refs/heads/main", "after": commit, "repository": {"full_name": "yo/tienda"},
                           "padding": "x" * 8000}).encode()
        signature = hmac.new(self.secret, body, hashlib.sha256).hexdigest()
        connection = http.client.HTTPConnection("127.0.0.1", self.console, timeout=30)
        connection.request("POST", "/hooks/tienda", body, {
            "Content-Type": "application/json", "X-GitHub-Event": "push", "X-GitHub-Delivery": delivery,
            "X-Hub-Signature-256": f"sha256={signature}"})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if answer.status != 202:
            raise Failed(f"expected 202 for a delivery, found {answer.status}: {text}")

    def deployments(self):
        return json.loads(self.client("deployments", "tienda", "--json"))

    def newest(self):
        return (self.deployments() or [{"state": ""}])[0]

    def live(self):
        [app] = json.loads(self.client("apps", "list", "--json"))
        return app["commit"]

    def wait(self, holds, what):
        deadline = time.monotonic() + LIMIT
        while not holds():
            if time.monotonic() > deadline:
                raise Failed(f"waited {LIMIT} s in vain for {what}:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.2)

    def start_sshd(self):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "host_key")
        (self.folder / "authorized").write_text("")
        serve = self.folder / "serve"
        serve.write_text(f"#!/bin/sh\nexec git upload-pack '{self.project}/.git'\n")
        serve.chmod(0o755)
        settings = self.folder / "sshd_config"
        settings.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self.folder / 'host_key'}\nPidFile none\n"
            f"AuthorizedKeysFile {self.folder / 'authorized'}\nStrictModes no\nUsePAM no\n"
            f"PermitRootLogin prohibit-password\nPasswordAuthentication no\nForceCommand {serve}\n"
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd's own; the system's start script makes it
        with (self.folder / "sshd.log").open("wb") as log:
            return subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", settings],
                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def close(self):
        edge = self.data / "run/router.lock"
        for process in (self.process, self.sshd):
            stop(process.pid)
            process.wait()
        if edge.exists() and edge.read_text().strip():
            stop(int(edge.read_text()))


if __name__ == "__main__":
    sys.exit(main())

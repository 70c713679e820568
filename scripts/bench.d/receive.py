#!/usr/bin/env python3
"""A repository of 200 MB pushed over each road, in turns within one run: seconds, and the memory that
the control plane takes for it.

- plain: `git receive-pack` of a bare repository on the same disk, git's own settings;
- checked: the same with the checks of objects that zarpar has git do (transfer.fsckObjects), which
  is how much of the difference is git's;
- http: smart HTTP on the console address;
- edge: the same through the edge, with TLS, on the host that `[console]` names;
- plain ssh: `git receive-pack` again, behind an sshd of this run: what encryption and sshd cost;
- ssh: zarpar behind the same sshd.

The deployment is left out like this: the repository has nothing that could be built, so each of
zarpar's pushes goes its whole way (pack, checks, hooks, queue) and is refused when the deployment
looks for a Dockerfile. The plain repositories have an `update` hook that refuses. So no branch moves,
and every turn, with a new repository on the server, sends everything. The time of the refused
deployment is in the table of its own.

Memory is VmHWM of `zarpar serve`, set back before each push (clear_refs), less what it had before.
The goals are in the table: at most 1.15 × plain and 20 MiB. Prints it, writes
target/bench/receive.json: rows of {road, seconds, ratio, more_mib, edge_more_mib, deployment,
rounds}, medians but for the memory, which is the most of all rounds. Then webhooks.py measures the
answers to webhooks.
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import deploy
import webhooks
from deploy import LABEL, REPOSITORY, TARGET, Failed, free_ports, remove_docker_objects, run, say, stop

HOST = "ship.localhost"
RATIO, MEMORY = 1.15, 20.0  # the goals: times plain, MiB
LIMIT = 600  # seconds for one push
MIB = 1024 * 1024


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3, help="pushes over each road (default 3)")
    options.add_argument("--size", type=int, default=200, help="MB of the repository (default 200)")
    options.add_argument("--binary", type=Path, help="the zarpar to measure (default: the release build, made here)")
    chosen = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ.pop("GIT_SSL_CAINFO", None)  # it would win over the certificate of this run
    os.environ.update(GIT_TERMINAL_PROMPT="0", GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1")
    local = "127.0.0.1,localhost"
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, [local, os.environ.get("no_proxy")]))

    # Where the home is, because sshd trusts no folder below /tmp, which may be memory besides.
    folder = Path(tempfile.mkdtemp(prefix=".zarpar-bench.", dir=Path.home()))
    server = None
    try:
        if chosen.binary is None:
            run("cargo", "build", "--release", "--locked", "--package", "zarpar", cwd=REPOSITORY)
        project = make_project(folder / "project", chosen.size)
        server = Server(folder, (chosen.binary or TARGET / "release/zarpar").resolve())
        roads = [Plain("plain", []), Plain("checked", ["transfer.fsckObjects"]), Http(server), Edge(server)]
        if server.sshd:
            roads += [PlainSsh(server), Ssh(server)]
        else:
            say("ssh: sshd or `zarpar keys` is not there, both roads stay out (apt-get install openssh-server)")
        report = measure(roads, project, chosen.rounds, folder)
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
    path = TARGET / "bench/receive.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    print_table(report)
    say(f"written to {path}")
    return webhooks.main(["--binary", str(chosen.binary)] if chosen.binary else [])


def make_project(folder, megabytes):
    """Files that do not compress, 100 kB each, in commits of 10 MB: what images in a repository are."""
    run("git", "init", "-q", "--initial-branch=main", folder)
    source = random.Random(megabytes)
    files = 0
    while files < megabytes * 10:
        for _ in range(min(100, megabytes * 10 - files)):
            path = folder / f"{files // 100}/{files}.bin"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(source.randbytes(100_000))
            files += 1
        run("git", "-C", folder, "add", "--all")
        run("git", "-C", folder, "-c", "user.name=bench", "-c", "user.email=bench@localhost",
            "-c", "commit.gpgSign=false", "commit", "-q", "-m", f"{files} files")
    # As after a clone, so that no turn pays for the client's packing.
    run("git", "-C", folder, "gc", "-q")
    return folder


def measure(roads, project, rounds, folder):
    turns = {road.name: [] for road in roads}
    for number in range(1, rounds + 1):
        for road in roads:
            turn = road.turn(project, folder)
            turns[road.name].append(turn)
            more = f", {turn['more_mib']:.1f} MiB more" if "more_mib" in turn else ""
            say(f"{number}, {road.name}: {turn['seconds']:.2f} s{more}")
    plain = statistics.median(turn["seconds"] for turn in turns["plain"])
    return [row(name, seen, plain) for name, seen in turns.items()]


def row(name, turns, plain):
    seconds = statistics.median(turn["seconds"] for turn in turns)
    most = {key: round(max(turn[key] for turn in turns), 1) for key in ("more_mib", "edge_more_mib") if key in turns[0]}
    deployed = [turn["deployment"] for turn in turns if "deployment" in turn]
    return {
        "road": name,
        "seconds": round(seconds, 2),
        "ratio": round(seconds / plain, 3),
        **most,
        "deployment": round(statistics.median(deployed), 2) if deployed else None,
        "rounds": [round(turn["seconds"], 2) for turn in turns],
    }


def print_table(rows):
    print(f"\n{'road':<10} {'seconds':>8} {'/ plain':>8} {'goal':>6} {'MiB more':>9} {'goal':>6} {'edge MiB':>9} {'deployment':>11}")
    for line in rows:
        ours = line["deployment"] is not None
        more, edge = (f"{line[key]:.1f}" if ours else "" for key in ("more_mib", "edge_more_mib"))
        print(f"{line['road']:<10} {line['seconds']:>8.2f} {line['ratio']:>8.2f} {RATIO if ours else '':>6} {more:>9} "
              f"{MEMORY if ours else '':>6} {edge:>9} {line['deployment'] if ours else '':>11}")
    print()


def push(project, address, says, *settings):
    """Seconds of a push that is refused with these words."""
    words = [word for setting in settings for word in ("-c", setting)]
    began = time.monotonic()
    done = subprocess.run(["git", "-C", project, *words, "push", "-q", address, "main"],
                          stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=LIMIT)
    seconds = time.monotonic() - began
    if done.returncode == 0 or says not in done.stderr:
        raise Failed(f"expected a push that is refused with `{says}`, found:\n{done.stderr[-3000:]}")
    return seconds


class Plain:
    """git on both sides, joined by a pipe."""

    push_settings = ()

    def __init__(self, name, settings):
        self.name, self.settings = name, settings

    def address(self, repository):
        return repository

    def turn(self, project, folder):
        repository = folder / "plain.git"
        run("git", "init", "-q", "--bare", "--initial-branch=main", repository)
        for setting in self.settings:
            run("git", "-C", repository, "config", setting, "true")
        hook = repository / "hooks/update"
        hook.write_text("#!/bin/sh\necho refused >&2\nexit 1\n")
        hook.chmod(0o755)
        try:
            return {"seconds": push(project, self.address(repository), "refused", *self.push_settings)}
        finally:
            shutil.rmtree(repository)


class PlainSsh(Plain):
    """The same with an sshd in between."""

    def __init__(self, server):
        super().__init__("plain ssh", [])
        self.push_settings = (f"core.sshCommand={server.ssh}",)

    def address(self, repository):
        return f"plain:{repository}"


class Road:
    """A way to `zarpar serve`."""

    settings = ()

    def __init__(self, server):
        self.server = server

    def turn(self, project, _folder):
        server = self.server
        server.client("apps", "create", "bench")
        try:
            edge = server.edge_pid()
            before, edge_before = start_peak(server.process.pid), start_peak(edge)
            seconds = push(project, self.address(), "expected a `Dockerfile`", *self.settings)
            more, edge_more = peak(server.process.pid) - before, peak(edge) - edge_before
            [deployment] = json.loads(server.client("deployments", "bench", "--json"))
        finally:
            server.client("apps", "destroy", "bench", "--force")
        return {"seconds": seconds, "more_mib": more / MIB, "edge_more_mib": edge_more / MIB,
                "deployment": deployment["seconds"]}


class Http(Road):
    name = "http"

    def address(self):
        return f"http://{self.server.token}@127.0.0.1:{self.server.console}/git/bench.git"


class Edge(Road):
    name = "edge"

    def __init__(self, server):
        super().__init__(server)
        self.settings = (f"http.sslCAInfo={server.certificate}",)

    def address(self):
        return f"https://{self.server.token}@{HOST}:{self.server.https}/git/bench.git"


class Ssh(Road):
    name = "ssh"

    def __init__(self, server):
        super().__init__(server)
        self.settings = (f"core.sshCommand={server.ssh}",)

    def address(self):
        return "server:bench"


def start_peak(pid):
    """Sets the peak back; bytes that the process has now (proc(5): /proc/pid/clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return memory(pid, "VmRSS")


def peak(pid):
    return memory(pid, "VmHWM")


def memory(pid, name):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise Failed(f"expected `{name}` in /proc/{pid}/status")


class Server:
    """`zarpar serve` of this run, with a certificate for the console, and an sshd when there is one."""

    def __init__(self, folder, binary):
        self.folder, self.binary, self.data = folder, binary, folder / "data"
        self.http, self.https, self.console, self.port = free_ports(4)
        self.config = folder / "zarpar.toml"
        key, value = LABEL.split("=")
        self.config.write_text(f'[engine]\nlabels = {{ "{key}" = "{value}" }}\n[console]\nhost = "{HOST}"\n')
        self.sshd = self.start_sshd() if self.has_ssh() else None
        self.log = folder / "serve.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [binary, "serve", "--config", self.config, "--data", self.data, "--http", f"127.0.0.1:{self.http}",
                 "--https", f"127.0.0.1:{self.https}", "--console", f"127.0.0.1:{self.console}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while deploy.ask(("127.0.0.1", self.console), "localhost", "/healthz", "()", 5)[1]:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"`zarpar serve` does not answer:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.05)
        self.token = self.client("tokens", "create", "bench").strip()
        self.certificate = folder / "ship.pem"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}", "-keyout", folder / "ship.key",
            "-out", self.certificate)
        self.client("certificates", "add", HOST, self.certificate, folder / "ship.key")
        if self.sshd:
            self.client("keys", "add", "bench", folder / "key.pub", "--role", "admin")

    def client(self, *words):
        return run(self.binary, *words, env=os.environ | {"ZARPAR_DATA": str(self.data)})

    def edge_pid(self):
        return int((self.data / "run/router.lock").read_text())

    def has_ssh(self):
        known = subprocess.run([self.binary, "keys", "--help"], capture_output=True).returncode == 0
        return known and Path("/usr/sbin/sshd").exists()

    def start_sshd(self):
        """As tests/e2e/sshd.rs does: a high port, keys and configuration of its own."""
        user = run("id", "-un").strip()
        for name in ("host_key", "key", "plain_key"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name)
        allowed = self.folder / ".ssh/authorized_keys"
        allowed.parent.mkdir(mode=0o700)
        shutil.copy(self.folder / "plain_key.pub", allowed.parent / "plain_keys")
        with self.config.open("a") as config:
            config.write(f'[ssh]\nauthorized_keys = "{allowed}"\nuser = "{user}"\n')
        settings = self.folder / "sshd_config"
        settings.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self.folder / 'host_key'}\nPidFile none\n"
            f"AuthorizedKeysFile {allowed} {allowed.parent / 'plain_keys'}\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\n"
        )
        public = (self.folder / "host_key.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}")
        client = self.folder / "ssh_config"
        client.write_text("".join(
            f"Host {name}\n  HostName 127.0.0.1\n  Port {self.port}\n  User {user}\n  IdentitiesOnly yes\n"
            f"  IdentityFile {self.folder / key}\n  BatchMode yes\n  UserKnownHostsFile {self.folder / 'known_hosts'}\n"
            for name, key in (("server", "key"), ("plain", "plain_key"))
        ))
        self.ssh = f"ssh -F {client}"
        if user == "root":
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd's own; the system's start script makes it
        with (self.folder / "sshd.log").open("wb") as log:
            return subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", settings],
                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def close(self):
        edge = self.data / "run/router.lock"
        for process in filter(None, (self.process, self.sshd)):
            stop(process.pid)
            process.wait()
        if edge.exists() and edge.read_text().strip():
            stop(int(edge.read_text()))


if __name__ == "__main__":
    sys.exit(main())

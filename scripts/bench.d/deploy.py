#!/usr/bin/env python3
"""Seconds from the start of a deployment to the first answer of the new code, for a code-only change
of examples/django, measured in turns within one run:

- ours: `git push production main` to `zarpar serve`, first new answer through the edge;
- by hand: the same Dockerfile, typed with the docker command line: build, migrate, collectstatic,
  run the new container until it answers;
- guide: docker-compose build, then `up -d --force-recreate web`, as the deploy guides teach it (its
  own Dockerfile, migrate and collectstatic at the start of the container).

50 requests a second come in during every turn, to what serves then. Each side has a Postgres and a
network of its own. Everything in Docker carries the label `zarpar.test=bench-PID` and is removed by
it, whatever happens. Prints a table, writes target/bench/deploy.json: rows of
{name, ours, by_hand, guide, ratio, …} in seconds (medians), ratio = ours / by_hand.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from load import Load, ask

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "examples/django"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
ZARPAR = TARGET / "release/zarpar"
RUN = f"bench-{os.getpid()}"
LABEL = f"zarpar.test={RUN}"
HOST = "tienda.localhost"
VERSION = (r"^(\S+)$", "/version/")  # the pattern and the path
LIMIT = 300.0  # seconds for one deployment
RATE = 50


class Failed(Exception):
    """What was expected, and the next command to try."""


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3, help="deployments of each kind (default 3)")
    rounds = options.parse_args().rounds
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    folder = Path(tempfile.mkdtemp(prefix="zarpar-bench."))
    sides = []
    try:
        say("set-up: scripts/setup --bench, cargo build --release")
        compose = set_up()
        for make in (Ours, ByHand, Guide):
            if make is Guide and not compose:
                say("guide: docker-compose is not installed, its column stays empty (scripts/setup --bench)")
                continue
            began = time.monotonic()
            side = make(folder / make.__name__.lower())
            sides.append(side)
            side.first()
            say(f"{side.name}: version 1 answers ({time.monotonic() - began:.1f} s)")
        report = measure(sides, rounds)
    except Failed as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        # A second Ctrl-C must not leave half of it behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for side in sides:
            side.close()
        remove_docker_objects()
        shutil.rmtree(folder, ignore_errors=True)
    path = TARGET / "bench/deploy.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    print_table(report)
    say(f"written to {path}")
    return 0


def measure(sides, rounds):
    pushes = {side.name: [] for side in sides}
    for number in range(1, rounds + 1):
        for side in sides:
            pushes[side.name].append(turn(side, number, "push", side.edit, side.push))
    rollbacks = {side.name: [] for side in sides if side.rollback}
    for number in range(1, rounds + 1):
        for side in sides:
            if side.rollback:
                rollbacks[side.name].append(turn(side, number, "rollback", lambda: None, side.rollback))
    return [row("code-only push", pushes), row("rollback", rollbacks)]


def turn(side, number, what, prepare, act):
    """One deployment under load: seconds to the first new answer, and what the load saw."""
    prepare()
    time.sleep(2)  # what the turn before left to do (drain, retire) is over
    load = Load(side.visitors(), HOST, VERSION[1], VERSION[0], RATE).start()
    time.sleep(1)
    began = time.monotonic()
    first_new = act(load)
    time.sleep(1)
    seen = load.stop().report() | {"seconds": round(first_new - began, 2)}
    say(
        f"{what} {number}, {side.name}: {seen['seconds']} s to the first new answer, "
        f"{seen['failed']} of {seen['requests']} requests failed"
    )
    return seen


def row(name, turns):
    median = {side: statistics.median(turn["seconds"] for turn in seen) for side, seen in turns.items()}
    ours, by_hand = round(median["ours"], 2), round(median["by hand"], 2)
    return {
        "name": name,
        "ours": ours,
        "by_hand": by_hand,
        "guide": round(median["guide"], 2) if "guide" in median else None,
        "ratio": round(ours / by_hand, 3),
        "rounds": {side: [turn["seconds"] for turn in seen] for side, seen in turns.items()},
        "requests": {side: sum(turn["requests"] for turn in seen) for side, seen in turns.items()},
        "failed": {side: sum(turn["failed"] for turn in seen) for side, seen in turns.items()},
        "went_back": {side: sum(turn["went_back"] for turn in seen) for side, seen in turns.items()},
    }


def print_table(rows):
    print(f"\n{'median seconds':<16} {'ours':>7} {'by hand':>8} {'guide':>7} {'ours / by hand':>15}   failed requests")
    for line in rows:
        guide = "–" if line["guide"] is None else f"{line['guide']:.2f}"
        failed = ", ".join(f"{side} {count}/{line['requests'][side]}" for side, count in line["failed"].items())
        print(f"{line['name']:<16} {line['ours']:>7.2f} {line['by_hand']:>8.2f} {guide:>7} {line['ratio']:>15.2f}   {failed}")
    print()


class Side:
    """One way to deploy: a copy of the example, the version in it, and how it gets out."""

    rollback = None

    def __init__(self, folder):
        self.folder = folder
        self.project = folder / "app"
        self.version = 1
        shutil.copytree(EXAMPLE, self.project, ignore=shutil.ignore_patterns("__pycache__"))

        self.write_version()

    def edit(self):
        self.version += 1
        self.write_version()

    def write_version(self):
        path = self.project / "sitio/version.py"
        path.write_text(re.sub(r"^VERSION = .*$", f'VERSION = "{self.text(self.version)}"', path.read_text(), flags=re.M))

    def text(self, version):
        """How the site shows a version. No other side and no other run has the same file: the
        engine's build cache would give a later one the layer that an earlier one paid for."""
        return f"{version}-{self.name.replace(' ', '-')}-{RUN}"

    def close(self):
        """What Docker's label does not find."""


class Ours(Side):
    """`git push` to a `zarpar serve` of this run."""

    name = "ours"

    def __init__(self, folder):
        super().__init__(folder)
        self.http, self.console = free_ports(2)
        self.data = folder / "data"
        config = folder / "zarpar.toml"
        key, value = LABEL.split("=")
        config.write_text(f'[engine]\nlabels = {{ "{key}" = "{value}" }}\n')
        self.log = folder / "serve.log"
        with self.log.open("wb") as log:
            self.server = subprocess.Popen(
                [ZARPAR, "serve", "--config", config, "--data", self.data, "--http", f"127.0.0.1:{self.http}",
                 "--https", "127.0.0.1:0", "--console", f"127.0.0.1:{self.console}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )
        self.live = 1

    def first(self):
        deadline = time.monotonic() + 60
        while ask(("127.0.0.1", self.console), "localhost", "/healthz", "()", 5)[1]:
            if self.server.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"`zarpar serve` does not answer:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.05)
        self.client("apps", "create", "tienda", "--domain", HOST, "--postgres")
        token = self.client("tokens", "create", "bench", "--app", "tienda").strip()
        run("git", "init", "-q", "--initial-branch=main", self.project)
        with (self.project / ".git/config").open("a") as config:
            config.write(f'[remote "production"]\n\turl = http://{token}:@127.0.0.1:{self.console}/git/tienda.git\n')
        self.commit()
        self.git("push", "production", "main")

    def edit(self):
        super().edit()
        self.commit()

    def visitors(self):
        return "127.0.0.1", self.http

    def push(self, load):
        return self.deploy(load, self.version, ["git", "-C", self.project, "push", "production", "main"])

    def rollback(self, load):
        # The last two versions in turns. Every push made one release, so they have the same numbers.
        other = self.version - 1 if self.live == self.version else self.version
        return self.deploy(load, other, [ZARPAR, "rollback", "tienda", f"v{other}"])

    def deploy(self, load, version, command):
        with (self.folder / "command.log").open("wb") as log:
            process = subprocess.Popen(command, env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            first_new = load.wait_for(self.text(version), LIMIT)
            code = process.wait(LIMIT)
        if code or first_new is None:
            found = "no answer" if first_new is None else "an answer"
            raise Failed(f"expected version {self.text(version)}, found {found}; `{Path(command[0]).name}` ended with {code}:\n{(self.folder / 'command.log').read_text()[-4000:]}")
        self.live = version
        return first_new

    def commit(self):
        self.git("add", "--all")
        self.git("-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgSign=false",
                 "commit", "-q", "-m", f"version {self.version}")

    def git(self, *words):
        return run("git", "-C", self.project, *words, env=self.environment())

    def client(self, *words):
        return run(ZARPAR, *words, env=self.environment())

    def environment(self):
        return os.environ | {"ZARPAR_DATA": str(self.data), "GIT_TERMINAL_PROMPT": "0"}

    def close(self):
        edge = self.data / "run/router.lock"
        stop(self.server.pid)
        self.server.wait()
        if edge.exists() and edge.read_text().strip():
            stop(int(edge.read_text()))


class ByHand(Side):
    """The docker command line, one command after the other, with our Dockerfile."""

    name = "by hand"

    def __init__(self, folder):
        super().__init__(folder)
        # The recipe that zarpar would use; it reads a git repository.
        run("git", "init", "-q", "--initial-branch=main", self.project)
        run("git", "-C", self.project, "add", "--all")
        run("git", "-C", self.project, "-c", "user.name=bench", "-c", "user.email=bench@localhost",
            "-c", "commit.gpgSign=false", "commit", "-q", "-m", "recipe")
        recipe = run(ZARPAR, "build", "--print-dockerfile", self.project)
        shutil.rmtree(self.project / ".git")
        self.dockerfile = folder / "Dockerfile"
        self.dockerfile.write_text(recipe)
        self.network = f"{RUN}-hand"
        docker("network", "create", "--label", LABEL, self.network)
        docker("volume", "create", "--label", LABEL, f"{RUN}-static")
        self.environment = folder / "env"
        self.environment.write_text(application_environment(f"{RUN}-hand-db"))
        start_postgres(f"{RUN}-hand-db", self.network)
        self.container = self.retiring = self.address = None
        self.count = 0

    def first(self):
        # A new volume belongs to root, the app does not run as root.
        self.build()
        docker("run", "--rm", "--label", LABEL, "--user", "0", *self.static(), self.image(1),
               "chown", "10001:10001", "/app/staticfiles")
        self.push(None)

    def visitors(self):
        return self.address

    def push(self, _load):
        image = self.image(self.version)
        self.build()
        docker("run", "--rm", *self.options(), image, "python", "manage.py", "migrate", "--noinput")
        docker("run", "--rm", *self.options(), image, "python", "manage.py", "collectstatic", "--noinput")
        return self.replace(image, self.text(self.version))

    def rollback(self, _load):
        live, _ = ask(self.address, HOST, VERSION[1], VERSION[0])
        other = self.version - 1 if live == self.text(self.version) else self.version
        return self.replace(self.image(other), self.text(other))

    def build(self):
        docker("build", "-q", "--label", LABEL, "-t", self.image(self.version), "-f", self.dockerfile, self.project)

    def replace(self, image, version):
        """Starts the new container, waits until it answers, then stops the old one."""
        self.count += 1
        name = f"{RUN}-hand-web-{self.count}"
        docker("run", "-d", "--name", name, *self.options(), image)
        address = docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name).strip(), 8000
        deadline = time.monotonic() + LIMIT
        while ask(address, HOST, VERSION[1], VERSION[0], 5)[0] != version:
            if time.monotonic() > deadline:
                raise Failed(f"{name} does not answer:\n{docker('logs', '--tail', '20', name)}")
            time.sleep(0.02)
        first_new = time.monotonic()
        # The old one goes on answering the load of this turn, and is stopped by the next.
        old, self.retiring = self.retiring, self.container
        if old:
            docker("rm", "-f", "-v", old)
        self.container, self.address = name, address
        return first_new

    def image(self, version):
        return f"{RUN}-hand:{version}"

    def static(self):
        return ["-v", f"{RUN}-static:/app/staticfiles"]

    def options(self):
        return ["--label", LABEL, "--network", self.network, "--env-file", self.environment, *self.static()]


class Guide(Side):
    """docker-compose, as the deploy guides teach it."""

    name = "guide"

    def __init__(self, folder):
        super().__init__(folder)
        [self.port] = free_ports(1)
        (self.project / "Dockerfile").write_text(GUIDE_DOCKERFILE)
        (folder / ".env").write_text(application_environment("db"))
        key, value = LABEL.split("=")
        (folder / "docker-compose.yml").write_text(
            GUIDE_COMPOSE.format(label=f'{{"{key}": "{value}"}}', port=self.port)
        )

    def first(self):
        self.compose("build", "web")
        self.compose("up", "-d", "db")
        time.sleep(5)
        self.compose("up", "-d")
        deadline = time.monotonic() + LIMIT
        while ask(self.visitors(), HOST, VERSION[1], VERSION[0], 5)[0] != self.text(1):
            if time.monotonic() > deadline:
                raise Failed(f"the compose stack does not answer:\n{self.compose('logs', '--tail', '20', 'web')}")
            time.sleep(0.1)

    def visitors(self):
        return "127.0.0.1", self.port

    def push(self, load):
        self.compose("build", "web")
        self.compose("up", "-d", "--force-recreate", "web")
        first_new = load.wait_for(self.text(self.version), LIMIT)
        if first_new is None:
            raise Failed(f"the compose stack does not answer:\n{self.compose('logs', '--tail', '20', 'web')}")
        return first_new

    def compose(self, *words):
        return run("docker-compose", "-p", f"{RUN}-guide", *words, cwd=self.folder,
                   env=BUILDKIT | {"COMPOSE_DOCKER_CLI_BUILD": "1"})


GUIDE_DOCKERFILE = """\
FROM python:3.13-slim
ENV PYTHONUNBUFFERED=1
ENV PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt gunicorn
COPY . .
RUN mkdir -p /app/staticfiles
EXPOSE 8000
CMD ["gunicorn", "sitio.wsgi:application", "--bind", "0.0.0.0:8000", "--workers", "3"]
"""

# Without its nginx, which would add failures of its own: visitors reach gunicorn's published port.
# And without the source mounted over the image: a worker imports a module when it first needs it, so
# the edited file alone makes the old container answer with both versions in turns.
GUIDE_COMPOSE = """\
version: '3.8'
services:
  db:
    image: postgres:17
    labels: {label}
    environment:
      POSTGRES_DB: ${{DB_NAME}}
      POSTGRES_USER: ${{DB_USER}}
      POSTGRES_PASSWORD: ${{DB_PASSWORD}}
    volumes: ["database:/var/lib/postgresql/data"]
  web:
    build: {{context: ./app, labels: {label}}}
    restart: always
    labels: {label}
    env_file: [.env]
    volumes: ["static:/app/staticfiles", "media:/app/media"]
    ports: ["127.0.0.1:{port}:8000"]
    depends_on: [db]
    command: >
      sh -c "python manage.py migrate &&
             python manage.py collectstatic --noinput &&
             gunicorn sitio.wsgi:application --bind 0.0.0.0:8000 --workers 3"
volumes:
  database: {{labels: {label}}}
  static: {{labels: {label}}}
  media: {{labels: {label}}}
networks:
  default: {{labels: {label}}}
"""

DOCKER = "docker"
BUILDKIT = os.environ | {"DOCKER_BUILDKIT": "1"}


def set_up():
    """Whether docker-compose is there."""
    global DOCKER, BUILDKIT
    local = "127.0.0.1,localhost"
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, [local, os.environ.get("no_proxy")]))
    run(REPOSITORY / "scripts/setup", "--bench", cwd=REPOSITORY)
    run("cargo", "build", "--release", "--locked", "--package", "zarpar", cwd=REPOSITORY)
    # A client may lack the part that talks BuildKit; the engine's own package may bring one that has it.
    for client in (shutil.which("docker"), "/usr/bin/docker"):
        environment = os.environ | {"DOCKER_BUILDKIT": "1", "PATH": f"{Path(client).parent}:{os.environ['PATH']}"}
        probe = subprocess.run([client, "build", "-q", "--label", LABEL, "-"], input=f"FROM scratch\nLABEL probe={RUN}\n",
                               text=True, capture_output=True, env=environment)
        if probe.returncode == 0:
            DOCKER, BUILDKIT = client, environment
            return shutil.which("docker-compose") is not None
    raise Failed(f"expected a docker client that builds with BuildKit: {probe.stderr.strip()}\nhint: apt-get install docker-buildx")


def application_environment(database_host):
    workers = 2 * (os.cpu_count() or 1) + 1
    values = {
        "SECRET_KEY": "only-for-this-run", "DEBUG": "False", "ALLOWED_HOSTS": HOST, "PORT": 8000,
        "WEB_CONCURRENCY": workers, "DB_NAME": "tienda", "DB_USER": "tienda", "DB_PASSWORD": "only-for-this-run",
        "DB_HOST": database_host, "DB_PORT": 5432,
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def start_postgres(name, network):
    docker("run", "-d", "--name", name, "--label", LABEL, "--network", network, "-e", "POSTGRES_USER=tienda",
           "-e", "POSTGRES_DB=tienda", "-e", "POSTGRES_PASSWORD=only-for-this-run", "postgres:17")
    deadline = time.monotonic() + 120
    ready = ["exec", name, "pg_isready", "-h", "127.0.0.1", "-U", "tienda"]
    while subprocess.run([DOCKER, *ready], capture_output=True).returncode:
        if time.monotonic() > deadline:
            raise Failed(f"Postgres does not answer\nhint: docker logs {name}")
        time.sleep(0.2)


def docker(*words):
    return run(DOCKER, *words, env=BUILDKIT)


def run(*words, **options):
    """A command that must succeed; its standard output."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, text=True, capture_output=True, **options)
    if done.returncode:
        command = " ".join(map(str, words[:4]))
        raise Failed(f"`{command} …` ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def stop(pid):
    """Ends a process of this run: first asked, then killed."""
    for number, patience in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
        try:
            os.kill(pid, number)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline and alive(pid):
                time.sleep(0.05)
        except ProcessLookupError:
            return
        if not alive(pid):
            return


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


def remove_docker_objects():
    for kind, listing, remove in (
        ("container", ["ls", "-aq"], ["rm", "-f", "-v"]),
        ("network", ["ls", "-q"], ["rm"]),
        ("volume", ["ls", "-q"], ["rm", "-f"]),
        ("image", ["ls", "-q"], ["rm", "-f"]),
    ):
        found = subprocess.run([DOCKER, kind, *listing, "--filter", f"label={LABEL}"], text=True, capture_output=True)
        for identity in sorted(set(found.stdout.split())):
            subprocess.run([DOCKER, kind, *remove, "--", identity], capture_output=True)


def say(text):
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())

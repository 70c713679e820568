"""What zarpar runs in a release's own image, in one interpreter: ask Django for its settings,
migrate, collect the static files, or run the tasks that zarpar.toml names instead.

Arguments: a mark that no other output line starts with, a JSON list of commands or null, and
whether migrations wait until zarpar holds the visitors (JSON). Lines that start with the mark
are for zarpar, all others for the person who pushed.
"""

import json
import os
import runpy
import signal
import subprocess
import sys
import time

MARK, TASKS, WAIT = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
# What zarpar says when the visitors are held, and the seconds it may take for that: ten for an
# edge that is just being started again, ten for the requests from before.
GO_ON, PATIENCE = signal.SIGUSR1, 40
sys.argv = ["manage.py"]
sys.path.insert(0, os.getcwd())


def tell(**facts):
    sys.stdout.flush()
    os.write(1, (MARK + json.dumps(facts) + "\n").encode())


def load_django():
    """Settings are chosen as the project's own manage.py chooses them, so it is run, with the
    command it would execute taken out."""
    import django.core.management as management

    execute = management.execute_from_command_line
    management.execute_from_command_line = lambda *arguments, **options: None
    try:
        runpy.run_path("manage.py", run_name="__main__")
    finally:
        management.execute_from_command_line = execute
    import django

    django.setup()


def facts():
    from django.conf import settings

    def text(name):
        value = getattr(settings, name, None)
        return str(value) if value else None

    return {
        name.lower(): text(name) for name in ("STATIC_URL", "STATIC_ROOT", "MEDIA_URL", "MEDIA_ROOT")
    } | {"uid": os.getuid(), "gid": os.getgid()}


def pending():
    """How many migrations would run now."""
    from django.db import DEFAULT_DB_ALIAS, connections
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def wait_for_hold():
    count = pending()
    if not count:
        return
    tell(waits=count)
    if signal.sigtimedwait({GO_ON}, PATIENCE) is None:
        # zarpar is gone; nothing was changed yet.
        sys.exit("zarpar did not say that the visitors are held, so nothing was migrated")


def migrate():
    from django.core.management import call_command

    if WAIT:
        wait_for_hold()
    call_command("migrate", interactive=False, no_color=True)


def collectstatic():
    from django.conf import settings
    from django.core.management import call_command

    if getattr(settings, "STATIC_ROOT", None):
        call_command("collectstatic", interactive=False, no_color=True)


def command(words):
    def run():
        code = subprocess.call(words)
        if code:
            sys.exit(code)

    return run


def task(name, run):
    began = time.monotonic()
    tell(task=name)
    try:
        run()
    except SystemExit as end:
        if end.code not in (None, 0):
            tell(failed=name, code=end.code if isinstance(end.code, int) else 1)
            raise
    except BaseException:
        import traceback

        sys.stdout.flush()
        traceback.print_exc()
        tell(failed=name, code=1)
        sys.exit(1)
    tell(done=name, ms=round((time.monotonic() - began) * 1000))


def main():
    # One stream, so that a traceback stands where it happened.
    os.dup2(1, 2)
    if WAIT:
        # Before any thread starts, so that the signal is kept until it is waited for.
        signal.pthread_sigmask(signal.SIG_BLOCK, {GO_ON})
    task("settings", lambda: (load_django(), tell(settings=facts())))
    if TASKS is None:
        task("migrate", migrate)
        task("collectstatic", collectstatic)
    else:
        for words in TASKS:
            task(" ".join(words), command(words))
    # Threads that the project started may keep this interpreter for ever; nobody waits for them.
    tell(finished=True)


main()

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
import threading
import time

MARK, TASKS, WAIT = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
# What zarpar says when the visitors are held, and the seconds it may take for that: ten for an
# edge that is just being started again, ten for the requests from before.
GO_ON, PATIENCE = signal.SIGUSR1, 40
# What zarpar says when somebody cancels the deployment, and the seconds a task of the project's
# own then has.
END, GRACE = signal.SIGUSR2, 10
sys.argv = ["manage.py"]
sys.path.insert(0, os.getcwd())


class Cut:
    """When a cancel may end this interpreter: always, but for a migration that would be half
    done. The thread that listens works also while the database's driver waits in C."""

    gate = threading.Lock()
    asked = False
    # A migration is at work that no transaction takes back, or one is just being committed.
    whole = False
    child = None
    database = None

    @classmethod
    def now(cls):
        # Or the database would go on with the statement, and keep its locks, until it notices.
        try:
            cls.database.connection.cancel()
        except Exception:
            pass
        os._exit(75)

    @classmethod
    def listen(cls):
        signal.sigwait({END})
        with cls.gate:
            cls.asked = True
            child = cls.child
            if not cls.whole and child is None:
                cls.now()
        if child is not None:
            child.terminate()
            try:
                child.wait(GRACE)
            finally:
                os._exit(75)

    @classmethod
    def spare(cls, whole):
        with cls.gate:
            cls.whole = whole
            if cls.asked and not whole:
                os._exit(75)

    @classmethod
    def guard(cls):
        """A migration's transaction ends with its schema editor. Its record may come after."""
        from django.db.backends.base.schema import BaseDatabaseSchemaEditor as Editor
        from django.db.migrations.executor import MigrationExecutor as Executor

        apply, leave = Executor.apply_migration, Editor.__exit__

        def apply_migration(self, state, migration, *arguments, **options):
            cls.database = self.connection
            cls.spare(not (migration.atomic and self.connection.features.can_rollback_ddl))
            try:
                return apply(self, state, migration, *arguments, **options)
            finally:
                cls.spare(False)

        def leave_editor(self, *arguments):
            with cls.gate:
                cls.whole = True
            return leave(self, *arguments)

        Executor.apply_migration, Editor.__exit__ = apply_migration, leave_editor


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


def warn_of_sqlite():
    """A file in the container ends with it; the first visitor would find `no such table`."""
    from django.conf import settings

    default = settings.DATABASES.get("default", {})
    if default.get("ENGINE", "").endswith("sqlite3") and str(default.get("NAME")) != ":memory:":
        print(f"warning: the database is the SQLite file `{default.get('NAME')}` in this container, "
              "and each container has one of its own\n"
              "hint: an app made with `zarpar apps create NAME --postgres` has a database that stays", flush=True)


def migrate():
    from django.core.management import call_command

    warn_of_sqlite()

    Cut.guard()
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
        with Cut.gate:
            Cut.child = subprocess.Popen(words)
        code = Cut.child.wait()
        with Cut.gate:
            Cut.child = None
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
    # Before any thread starts, so that a signal is kept until it is waited for.
    signal.pthread_sigmask(signal.SIG_BLOCK, {GO_ON, END} if WAIT else {END})
    threading.Thread(target=Cut.listen, daemon=True).start()
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

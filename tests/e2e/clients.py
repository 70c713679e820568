"""Git clients that are not git. Arguments: `push LIBRARY URL FOLDER BRANCH` (main goes to BRANCH) or
`clone LIBRARY URL FOLDER`. Prints what the library shows of the server's words; ends with 1 when the
push was refused."""

import sys
from urllib.parse import urlsplit

word, library, url, folder = sys.argv[1:5]


def by_dulwich():
    from dulwich import porcelain
    from dulwich.errors import GitProtocolError

    out = sys.stdout.buffer
    if word == "clone":
        porcelain.clone(url, folder, errstream=out).close()
        return
    try:
        refspec = f"refs/heads/main:refs/heads/{sys.argv[5]}"
        pushed = porcelain.push(folder, url, refspec, outstream=out, errstream=out, force=True)
    except (porcelain.Error, GitProtocolError) as error:
        sys.exit(f"refused: {error}")
    if refused := [name for name, error in pushed.ref_status.items() if error]:
        sys.exit(f"refused: {refused}")


def by_pygit2():
    import pygit2

    class Callbacks(pygit2.RemoteCallbacks):
        refused = None

        def credentials(self, url, username, allowed):
            return pygit2.UserPass(urlsplit(sys.argv[3]).username, "x")

        def sideband_progress(self, text):
            print(text, end="")

        def push_update_reference(self, name, message):
            if message is not None:
                self.refused = f"{name}: {message}"

    callbacks = Callbacks()
    # The token comes when it is asked for, after a 401.
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    if word == "clone":
        pygit2.clone_repository(bare, folder, callbacks=callbacks)
        return
    repository = pygit2.Repository(folder)
    remote = repository.remotes.create_anonymous(bare)
    try:
        remote.push([f"+refs/heads/main:refs/heads/{sys.argv[5]}"], callbacks=callbacks)
    except pygit2.GitError as error:
        callbacks.refused = error
    if callbacks.refused:
        sys.exit(f"refused: {callbacks.refused}")


{"dulwich": by_dulwich, "pygit2": by_pygit2}[library]()

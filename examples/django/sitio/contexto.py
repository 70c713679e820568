"""Lo que toda plantilla puede nombrar."""

import os

from .version import VERSION


def version(request):
    return {
        "VERSION": VERSION,
        "RELEASE": os.environ.get("ZARPAR_RELEASE", ""),
        "COMMIT": os.environ.get("ZARPAR_COMMIT", "")[:8],
    }

#!/usr/bin/env python
"""Las órdenes de Django para este sitio."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sitio.settings")
    execute_from_command_line(sys.argv)

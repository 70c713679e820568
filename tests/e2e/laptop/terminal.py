"""Runs a command under a terminal of 33 lines and 101 columns, as a person would.

Usage: terminal.py how COMMAND... . Prints what the terminal showed, and says at the end how the
command ended and whether the terminal is as it was.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

how, command = sys.argv[1], sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    os.execvp(command[0], command)
before = termios.tcgetattr(terminal)
shown = b""


def until(pattern):
    global shown
    began, start = time.monotonic(), len(shown)
    while not re.search(pattern, shown[start:]):
        left = 30 - (time.monotonic() - began)
        if left <= 0 or not select.select([terminal], [], [], left)[0]:
            sys.exit(f"waited in vain for {pattern}: {shown}")
        try:
            shown += os.read(terminal, 65536)
        except OSError:
            sys.exit(f"ended before {pattern}: {shown}")


def say(text):
    os.write(terminal, text)


until(rb"[$#] $")
raw = termios.tcgetattr(terminal)[3] & (termios.ICANON | termios.ECHO | termios.ISIG) == 0
if how == "talk":
    # The window's size comes behind the first bytes: a container has none until it runs.
    say(b"until [ \"$(stty size)\" = '33 101' ]; do sleep 0.1; done; stty size\r")
    until(rb"33 101\r\n(.|\n)*[$#] $")
    # Interrupts what runs in the container, and nothing else.
    say(b"echo wai''ting; sleep 1000\r")
    until(rb"waiting\r\n")
    say(b"\x03")
    until(rb"[$#] $")
    say(b"exit 5\r")
elif how == "cut":
    children = open(f"/proc/{pid}/task/{pid}/children").read().split()
    os.kill(int(children[0]), signal.SIGKILL)
elif how == "hangup":
    os.kill(pid, signal.SIGHUP)
try:
    # What the command leaves is read, so that it can end.
    while select.select([terminal], [], [], 60)[0]:
        shown += os.read(terminal, 65536)
except OSError:
    pass
after = termios.tcgetattr(terminal)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.stdout.write(shown.decode(errors="replace"))
print(f"\nraw: {raw}, ended: {code}, as before: {after == before}")

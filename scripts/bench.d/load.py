#!/usr/bin/env python3
"""An open-loop visitor: RATE requests a second, each on a connection of its own, started on time
whether or not the ones before have been answered, and never tried again.

A request has failed when it got no answer within the limit, a status other than 200, or a page
without the mark that `--pattern` looks for (its first group is the version). Versions are numbered
in the order in which they first answer. An answer went back when it carries an older version than
one that was complete before the request began.

Used as a module by the benches beside it. As a program it runs until SIGTERM or the limit, then
prints one line of JSON; exit 1 when a request failed or an answer went back.
"""

import argparse
import http.client
import json
import re
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass

ANSWER_WITHIN = 10.0  # seconds; then a visitor has gone
UNANSWERED_AT_ONCE = 1000  # a bound for the threads, twenty seconds of 50/s


@dataclass(frozen=True)
class Answer:
    """One request: when it began and ended (`time.monotonic`), and its version or its failure."""

    began: float
    ended: float
    version: str | None
    failure: str | None


def ask(address, host, path, pattern, within=ANSWER_WITHIN):
    """One request on a new connection; returns (version, None) or (None, what failed)."""
    connection = http.client.HTTPConnection(*address, timeout=within)
    try:
        connection.request("GET", path, headers={"Host": host, "Connection": "close"})
        response = connection.getresponse()
        body = response.read().decode(errors="replace")
        if response.status != 200:
            return None, f"status {response.status}"
        found = re.search(pattern, body)
        return (found[1], None) if found else (None, "no version in the page")
    except (OSError, http.client.HTTPException) as error:
        return None, type(error).__name__
    finally:
        connection.close()


class Load:
    """Requests that begin on time from `start` to `stop`."""

    def __init__(self, address, host, path, pattern, rate=50):
        self.target = (address, host, path, pattern)
        self.rate = rate
        self.answers = []
        self.first = {}  # version → when it was first answered; in the order of appearance
        self._lock = threading.Condition()
        self._stop = threading.Event()
        self._threads = []
        self._clock = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._clock.start()
        return self

    def stop(self):
        """Begins no more requests, waits for the answers of those that began."""
        self._stop.set()
        self._clock.join()
        for thread in self._threads:
            thread.join()
        return self

    def wait_for(self, version, limit):
        """When `version` was first answered, or None after `limit` seconds."""
        with self._lock:
            self._lock.wait_for(lambda: version in self.first, limit)
            return self.first.get(version)

    def report(self):
        answered = [answer for answer in self.answers if answer.failure is None]
        failures = Counter(answer.failure for answer in self.answers if answer.failure)
        began = min((answer.began for answer in self.answers), default=0.0)
        ended = max((answer.ended for answer in self.answers), default=0.0)
        return {
            "requests": len(self.answers),
            "failed": sum(failures.values()),
            "failures": dict(failures),
            "went_back": went_back(answered),
            "versions": list(self.first),
            "seconds": round(ended - began, 2),
            "slowest": round(max((a.ended - a.began for a in answered), default=0.0), 3),
        }

    def _run(self):
        start, number = time.monotonic(), 0
        while not self._stop.is_set():
            due = start + number / self.rate
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            number += 1
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if len(self._threads) >= UNANSWERED_AT_ONCE:
                now = time.monotonic()
                self._record(Answer(now, now, None, "too many unanswered"))
                continue
            thread = threading.Thread(target=self._one, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _one(self):
        began = time.monotonic()
        version, failure = ask(*self.target)
        self._record(Answer(began, time.monotonic(), version, failure))

    def _record(self, answer):
        with self._lock:
            self.answers.append(answer)
            if answer.version is not None and answer.version not in self.first:
                self.first[answer.version] = answer.ended
                self._lock.notify_all()


def went_back(answered):
    """How many answers are older than one that was complete before their request began."""
    order = {}
    for answer in sorted(answered, key=lambda answer: answer.ended):
        order.setdefault(answer.version, len(order))
    complete = sorted((answer.ended, order[answer.version]) for answer in answered)
    newest, position, count = -1, 0, 0
    for answer in sorted(answered, key=lambda answer: answer.began):
        while position < len(complete) and complete[position][0] <= answer.began:
            newest = max(newest, complete[position][1])
            position += 1
        count += order[answer.version] < newest
    return count


def main():
    parser = argparse.ArgumentParser(description="requests at a fixed rate until SIGTERM; prints one line of JSON")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", required=True, help="the Host header; the connection goes to 127.0.0.1")
    parser.add_argument("--path", default="/")
    parser.add_argument("--pattern", default=r'id="version">([^<]+)<', help="its first group is the version")
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--limit", type=float, default=900, help="seconds until it stops by itself")
    options = parser.parse_args()

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    load = Load(("127.0.0.1", options.port), options.host, options.path, options.pattern, options.rate).start()
    # Short waits: a signal that another thread takes does not end a wait of this one, and Python
    # runs its handler here only.
    deadline = time.monotonic() + options.limit
    while not stop.wait(0.1) and time.monotonic() < deadline:
        pass
    report = load.stop().report()
    print(json.dumps(report))
    return 1 if report["failed"] or report["went_back"] else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Latencies of suggestions by the rate of requests.

    python -m benchmarks.serving RUN [--rates 25 50 100 ...] [--seconds 10] [--keys 10] [--typos] [--csv FILE]

`kerasptb serve` runs in a process of its own, on the same machine. This process simulates its clients: people who each
type some eight characters a second, and request ten suggestions, or `--keys`, with every keystroke; with `--typos` on
QWERTY, 6.9 % of the keys wrong. Keystrokes come at random (a
Poisson process) at the offered rate, whether or not earlier ones have been answered. A latency counts from the time at
which the keystroke was due, so it shows if the server falls behind. The server's processor time per request tells what
rate it would sustain on a machine of its own. Each person types different words, so about one keystroke in five or six
begins a word that nobody typed after that text before, and costs a step of the model.

The rates rise until one has a 99th percentile of more than ten times `LIMIT_MS`. The whole takes at most twice the
given seconds for each rate, and some for the start.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import machine
from kerasptb.keyboard import load_layout
from kerasptb.keyboard.measure.simulator import Simulator

LIMIT_MS = 20.0  # answers within this time feel instant
KEYSTROKES_PER_SECOND = 8  # of one person
SUGGESTIONS = 10
WRONG_KEYS = 0.069
TEXT = (
    "the a of to and in it is was that on for with he she they we you would could not be have had said new old first "
    "last year day week month time people company market price share plan work home city water light because after "
    "before while under about between never always early late small large open close good better best more most"
)
WORDS = TEXT.split()


class Person:
    """Someone who types: a text that grows by a character a keystroke, and a connection of their own."""

    def __init__(self, seed, keys, typos):
        self._random, self._asked = random.Random(seed), {"k": keys, **({"typos": "qwerty"} if typos else {})}
        self._words = itertools.cycle(self._typed(typos))
        self._text = ""
        self._next = ""
        self._connection = None
        self._turn = asyncio.Lock()

    def keystroke(self):
        """Returns the text after one more keystroke."""
        if not self._next:
            if len(self._text) > 200:
                self._text = ""
            self._next = next(self._words) + " "
        self._text, self._next = self._text + self._next[0], self._next[1:]
        return self._text

    def _typed(self, typos):
        words = self._random.choices(WORDS, k=1000)
        if not typos:
            return words
        simulator = Simulator(load_layout("qwerty"), WRONG_KEYS, self._random.getrandbits(32))
        return [taps.text for _, taps in simulator.type(words)]

    async def ask(self, port, text):
        """Asks for suggestions and returns the status."""
        body = json.dumps({"text": text, **self._asked}).encode()
        head = (
            f"POST /v1/suggest HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        # A browser sends the next request when the connection is free again.
        async with self._turn:
            if self._connection is None:
                self._connection = await asyncio.open_connection("127.0.0.1", port)
            reader, writer = self._connection
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(re.search(rb"content-length: (\d+)", answer, re.IGNORECASE).group(1)))
        return int(answer.split(b" ", 2)[1])

    def leave(self):
        """Closes the connection."""
        if self._connection is not None:
            self._connection[1].close()


async def offer(process, port, rate, seconds, seed, keys=SUGGESTIONS, typos=False):
    """Offers keystrokes at a rate.

    Args:
        process: the server's process.
        port: its port.
        rate: keystrokes a second, of all people together.
        seconds: the duration.
        seed: seed of the times and the words.
        keys: suggestions that are asked for.
        typos: whether words are typed with errors.

    Returns:
        Dict of the latencies' quantiles in milliseconds, and of counts.
    """
    chance = random.Random(seed)
    people = [Person(f"{seed}-{i}", keys, typos) for i in range(max(1, round(rate / KEYSTROKES_PER_SECOND)))]
    latencies, statuses, tasks = [], [], []

    async def ask(person, text, due):
        statuses.append(await person.ask(port, text))
        latencies.append(time.perf_counter() - due)

    cpu_before = cpu_seconds(process.pid)
    begin = due = time.perf_counter()
    turn = 0
    while due < begin + seconds:
        due += chance.expovariate(rate)
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        person = people[turn % len(people)]
        turn += 1
        tasks.append(asyncio.create_task(ask(person, person.keystroke(), due)))
    await asyncio.wait(tasks, timeout=seconds)
    took = time.perf_counter() - begin
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for person in people:
        person.leave()
    return {
        "offered_per_second": rate,
        "answered_per_second": round(len(latencies) / took, 1),
        "median_ms": quantile(latencies, 0.5),
        "p90_ms": quantile(latencies, 0.9),
        "p99_ms": quantile(latencies, 0.99),
        "server_cpu_ms": round(1000 * (cpu_seconds(process.pid) - cpu_before) / max(len(latencies), 1), 2),
        "requests": len(tasks),
        "failed": len(tasks) - sum(status == 200 for status in statuses),
    }


def cpu_seconds(pid):
    """Returns the processor time that a process has used, in seconds; NaN where there is no /proc."""
    try:
        # The process' name, in parentheses before these fields, may contain spaces and parentheses itself.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def quantile(latencies, q):
    """Returns a quantile, in milliseconds, of latencies in seconds."""
    ranked = sorted(latencies)
    return round(1000 * ranked[min(int(q * len(ranked)), len(ranked) - 1)], 2) if ranked else float("nan")


def start_server(run, rate=0):
    """Starts a server that lets an address make so many requests a second (0: any); returns its process and port."""
    command = [sys.executable, "-u", "-m", "kerasptb", "serve", run, "--port", "0", "--rate", f"{rate:g}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    found = re.search(r":(\d+)/", process.stdout.readline())
    if found is None:
        raise SystemExit(f"The server did not start. Try: {' '.join(command)}")
    return process, int(found.group(1))


def main():
    """Runs the measurement from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder or SavedModel")
    parser.add_argument("--rates", type=float, nargs="+", default=[10, 25, 50, 100, 200, 300, 400, 600, 800])
    parser.add_argument("--seconds", type=float, default=10, help="for each rate (default: 10)")
    parser.add_argument("--keys", type=int, default=SUGGESTIONS, help="suggestions asked for (default: 10)")
    parser.add_argument("--typos", action="store_true", help="type with errors, and ask for corrections")
    parser.add_argument("--csv", help="file to write the rows to")
    options = parser.parse_args()

    process, port = start_server(options.run)
    rows = []
    try:
        asyncio.run(offer(process, port, 20, 2, "warm-up", options.keys, options.typos))
        for rate in options.rates:
            row = asyncio.run(offer(process, port, rate, options.seconds, f"{rate}", options.keys, options.typos))
            rows.append(row)
            print(
                f"{rate:6g} keystrokes/s offered, {row['answered_per_second']:7.1f} answered: median "
                f"{row['median_ms']:7.2f} ms, 99 % within {row['p99_ms']:8.2f} ms, {row['failed']} failed, "
                f"{row['server_cpu_ms']:.2f} ms of the server's processor time each",
                flush=True,
            )
            if row["p99_ms"] > 10 * LIMIT_MS:
                break
    finally:
        process.terminate()
        process.wait(20)
    held = [row["offered_per_second"] for row in rows if row["p99_ms"] < LIMIT_MS and not row["failed"]]
    people = f", {max(held) / KEYSTROKES_PER_SECOND:.0f} people typing" if held else ""
    print(f"99 % within {LIMIT_MS:g} ms up to {max(held, default=0):g} keystrokes/s{people}")
    if options.csv:
        machine.write_csv(options.csv, rows, seconds=options.seconds, keys=options.keys, typos=options.typos)


if __name__ == "__main__":
    main()

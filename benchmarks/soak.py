"""A server under load for long, beside clients that do it harm: memory, descriptors and latencies, minute by minute.

    python -m benchmarks.soak RUN [--minutes 60] [--rate 100] [--harmful 60] [--csv FILE]

People type at the given rate, as in `benchmarks.serving`; the server lets an address make twice as many requests.
Beside them, from other addresses of this machine, harmful clients connect again as soon as they are let go: some send a
byte a second of a body that was refused, or of headers that never end, some read no answer, some connect and send
nothing, some close their side after a request (these must get their answer). Needs Linux.
"""

import argparse
import asyncio
import contextlib
import json
import sys
from pathlib import Path

from benchmarks import machine
from benchmarks.serving import offer, start_server

HEAD = "POST /v1/suggest HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
BODY = json.dumps({"text": "the company said it wo", "k": 100})
WHOLE = f"{HEAD}Content-Length: {len(BODY)}\r\n\r\n{BODY}".encode()


async def goes_on_with_a_refused_body(reader, writer, counts):
    writer.write(f"{HEAD}Content-Length: 100000000\r\n\r\n".encode())
    await drip(writer)


async def sends_headers_without_end(reader, writer, counts):
    writer.write(f"{HEAD}X: ".encode())
    await drip(writer)


async def reads_nothing(reader, writer, counts):
    writer.transport.pause_reading()
    while True:
        writer.write(WHOLE)
        await writer.drain()


async def sends_nothing(reader, writer, counts):
    await reader.read()


async def closes_its_side(reader, writer, counts):
    writer.write(WHOLE)
    writer.write_eof()
    answer = await reader.read()
    counts["answered" if answer.startswith(b"HTTP/1.1 200") else "unanswered"] += 1
    await asyncio.sleep(1)


async def drip(writer):
    while True:
        writer.write(b"y")
        await writer.drain()
        await asyncio.sleep(1)


KINDS = (goes_on_with_a_refused_body, sends_headers_without_end, reads_nothing, sends_nothing, closes_its_side)


async def harm(port, number, counts):
    """Is a harmful client for ever."""
    kind = KINDS[number % len(KINDS)]
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, local_addr=(f"127.0.1.{1 + number % len(KINDS)}", 0)
            )
            counts["connections"] += 1
            try:
                await kind(reader, writer, counts)
            finally:
                writer.transport.abort()
        await asyncio.sleep(0.1)


def state_of(pid):
    """Returns the process' resident memory in MiB, and its number of open files."""
    status = Path(f"/proc/{pid}/status").read_text()
    kilobytes = int(status.partition("VmRSS:")[2].split()[0])
    return round(kilobytes / 1024), len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def soak(process, port, minutes, rate, harmful):
    """Returns a row for each minute."""
    counts = {"connections": 0, "answered": 0, "unanswered": 0}
    clients = [asyncio.create_task(harm(port, number, counts)) for number in range(harmful)]
    rows = []
    for minute in range(minutes):
        row = await offer(process, port, rate, 60, f"minute {minute}")
        memory, files = state_of(process.pid)
        rows.append({"minute": minute + 1, **row, "memory_mib": memory, "open_files": files, **counts})
        print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return rows


def main():
    """Runs the measurement from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", help="run folder or SavedModel")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rate", type=float, default=100, help="keystrokes a second (default: 100)")
    parser.add_argument("--harmful", type=int, default=60, help="harmful clients (default: 60)")
    parser.add_argument("--csv", help="file to write the rows to")
    options = parser.parse_args()
    process, port = start_server(options.run, 2 * options.rate)
    try:
        rows = asyncio.run(soak(process, port, options.minutes, options.rate, options.harmful))
    finally:
        process.terminate()
        process.wait(20)
    if options.csv:
        machine.write_csv(options.csv, rows)


if __name__ == "__main__":
    sys.exit(main())

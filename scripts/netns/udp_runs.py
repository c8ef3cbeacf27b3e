"""Sends random bytes in UDP datagrams and compares the SHA-256 of what comes back.

    udp_runs.py echo PORT
    udp_runs.py ask ADDRESS PORT RUNS

Datagrams go in runs of equal length with one system call (UDP_SEGMENT, where the kernel has it), so that the kernels, and
the tunnel between them, may keep a run together as a super-packet. `echo` sends a run back when it is complete. `ask` waits
for that before the next one, and asks again when it does not come, because UDP may lose packets; it prints the number of
bytes. Status 1 if a run is not answered at all, or if the sums differ.
"""

import hashlib
import random
import socket
import struct
import sys
import time

HEADER = struct.Struct(">IHH")  # number of the run; index in it; datagrams in it
DATAGRAMS = 30
SIZE = 1200  # of each datagram, in bytes: fits a tunnel of 1280
UDP_SEGMENT = 103  # <linux/udp.h>
PATIENCE = 1.0  # seconds for one run
ATTEMPTS = 20


def send_run(sock, to, datagrams):
    size = struct.pack("@H", len(datagrams[0]))
    try:
        sock.sendmsg([b"".join(datagrams)], [(socket.IPPROTO_UDP, UDP_SEGMENT, size)], 0, to)
    except OSError:
        for datagram in datagrams:
            sock.sendto(datagram, to)


def echo(port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", port))
    runs = {}  # address: number of its latest run, and what of it is there
    while True:
        datagram, address = sock.recvfrom(65535)
        number, index, count = HEADER.unpack_from(datagram)
        if runs.get(address, (None,))[0] != number:
            runs[address] = (number, {})
        parts = runs[address][1]
        parts[index] = datagram
        if len(parts) == count:
            send_run(sock, address, [parts[at] for at in range(count)])
            del runs[address]


def answers(sock, number, until):
    """What comes back of that run before it is complete or the time is over, by index."""
    found = {}
    while len(found) < DATAGRAMS and (left := until - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            datagram = sock.recv(65535)
        except socket.timeout:
            break
        run, index, _ = HEADER.unpack_from(datagram)
        if run == number:
            found[index] = datagram
    return found


def ask(address, port, runs):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    source = random.Random(1)
    sent, received = hashlib.sha256(), hashlib.sha256()
    for number in range(runs):
        datagrams = [
            HEADER.pack(number, index, DATAGRAMS) + source.randbytes(SIZE - HEADER.size) for index in range(DATAGRAMS)
        ]
        sent.update(b"".join(datagrams))
        for _ in range(ATTEMPTS):
            send_run(sock, (address, port), datagrams)
            found = answers(sock, number, time.monotonic() + PATIENCE)
            if len(found) == DATAGRAMS:
                break
        else:
            sys.exit(f"run {number}: {len(found)} of {DATAGRAMS} datagrams came back")
        received.update(b"".join(found[index] for index in range(DATAGRAMS)))
    if sent.digest() != received.digest():
        sys.exit("what came back is not what was sent")
    print(runs * DATAGRAMS * SIZE)


if sys.argv[1] == "echo":
    echo(int(sys.argv[2]))
else:
    ask(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

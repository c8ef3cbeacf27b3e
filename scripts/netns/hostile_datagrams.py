"""Throws datagrams at a UDP port: random bytes, damaged and repeated copies of captured ones, of every message type.

    hostile_datagrams.py ADDRESS PORT COUNT RATE [PCAP]

Sends at most RATE a second, ends after COUNT or 30 seconds, and prints how many were sent. Repeatable: its chance comes from a fixed seed.
"""

import random
import socket
import struct
import sys
import time

LENGTHS = {4: 32, 5: 1232, 6: 1228, 7: 144, 8: 64}  # of the messages; 4 is the shortest of its kind


def captured(path, port):
    """UDP payloads to `port` in a pcap file of Ethernet frames with IPv4 packets."""
    data = open(path, "rb").read()
    at, found = 24, []
    while at + 16 <= len(data):
        size = struct.unpack_from("<I", data, at + 8)[0]
        frame = data[at + 16 : at + 16 + size]
        at += 16 + size
        if frame[12:14] == b"\x08\x00" and frame[23] == 17:
            udp = frame[14 + 4 * (frame[14] & 15) :]
            if struct.unpack(">H", udp[2:4])[0] == port:
                found.append(udp[8:])
    return found


def damaged(chance, datagram):
    """One of: a flipped bit, a cut, an extension, another type, an exchanged index or counter."""
    copy = bytearray(datagram)
    way = chance.randrange(6)
    if way == 0:
        copy[chance.randrange(len(copy))] ^= 1 << chance.randrange(8)
    elif way == 1:
        del copy[chance.randrange(len(copy)) :]
    elif way == 2:
        copy += chance.randbytes(chance.randrange(1, 200))
    elif way == 3:
        copy[0] = chance.randrange(10)
    elif way == 4:
        copy[4:8] = chance.randbytes(4)
    else:
        copy[8:16] = chance.choice([b"\xff" * 8, bytes(8), chance.randbytes(8)])
    return bytes(copy)


def invented(chance):
    """Random bytes behind a header that is right, nearly right, or none at all."""
    kind = chance.randrange(10)
    length = LENGTHS.get(kind, 100) + chance.choice([0, 0, 0, 0, -1, 1, 16])
    if chance.random() < 0.1:
        return chance.randbytes(chance.choice([0, 0, 1, 2, 3, 4, 15, 16, 31, 1473, 9000]))
    header = bytes([kind, 0, 0, 0]) if kind <= 4 else bytes([kind, 1, chance.randrange(4), chance.randrange(4)])
    return header + chance.randbytes(length - 4)


def main():
    address, port, count, rate = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    chance = random.Random(1)
    samples = captured(sys.argv[5], port) if len(sys.argv) > 5 else []
    # Made before the clock runs: sending is then as fast as the system allows.
    pool = [invented(chance) for _ in range(2000)]
    if samples:
        pool += samples * 2 + [damaged(chance, chance.choice(samples)) for _ in range(4000)]
    chance.shuffle(pool)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sockets = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(16)]
    for each in sockets:
        each.connect((address, port))
    sent, start = 0, time.monotonic()
    while sent < count and time.monotonic() < start + 30:
        for number, datagram in enumerate(pool):
            try:
                sockets[number % 16].send(datagram)
                sent += 1
            except OSError:
                pass  # The system's own limits, or an ICMP answer to an earlier one.
            if number % 64 == 0:
                time.sleep(max(0.0, start + sent / rate - time.monotonic()))
    print(len(samples), "captured,", sent, "sent")


main()

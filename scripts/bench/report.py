#!/usr/bin/env python3
"""Tables and the chart of scripts/bench.sh, from its results.jsonl.

    report.py table RESULTS                 Markdown, to the standard output
    report.py chart RESULTS                 SVG, to the standard output
    report.py publish PART DOCUMENT         puts the standard input between the marks of that part of the document
"""

import json
import statistics
import sys

import chart

REFERENCE = "wireguard-go"
NAMES = {
    "hybrid-aes": "hybrid, AES-256-GCM",
    "hybrid-chacha": "hybrid, ChaCha20-Poly1305",
    "wireguard": "WireGuard mode",
    "null-cipher": "no cipher (the floor)",
}
OURS = {"hybrid-aes", "hybrid-chacha", "wireguard"}


class Figure:
    """One column: how it comes out of a pair's readings, and what is better."""

    def __init__(self, title, unit, digits, compute, more_is_better):
        self.title, self.unit, self.digits = title, unit, digits
        self.compute, self.more_is_better = compute, more_is_better

    def heading(self):
        return f"{self.title}, {self.unit}" if self.unit else self.title


def gigabits(measure):
    return lambda pair: pair[measure]["bits_per_second"] / 1e9


def cpu_per_gigabyte(pair):
    transfers = [reading for measure, reading in pair.items() if measure.startswith("tcp-")]
    return sum(reading["cpu_seconds"] for reading in transfers) / (sum(reading["bytes"] for reading in transfers) / 1e9)


def memory(pair):
    return max(pair["memory-gateway"]["bytes"], pair["memory-client"]["bytes"]) / 1e6


FIGURES = [
    Figure("TCP 1 ↑", "Gbit/s", 2, gigabits("tcp-1-up"), True),
    Figure("TCP 1 ↓", "Gbit/s", 2, gigabits("tcp-1-down"), True),
    Figure("TCP 4 ↑", "Gbit/s", 2, gigabits("tcp-4-up"), True),
    Figure("TCP 4 ↓", "Gbit/s", 2, gigabits("tcp-4-down"), True),
    Figure("CPU", "s/GB", 2, cpu_per_gigabyte, False),
    Figure("UDP 64 bytes", "1,000/s", 1, lambda pair: pair["udp-64"]["packets_per_second"] / 1e3, True),
    Figure("ping, idle", "µs", 0, lambda pair: pair["ping-idle"]["median_us"], False),
    Figure("ping, loaded", "µs", 0, lambda pair: pair["ping-loaded"]["median_us"], False),
    Figure("memory", "MB", 1, memory, False),
]
UDP_RECEIVED = Figure("UDP 1372 bytes", "Mbit/s", 0, lambda pair: pair["udp-1372"]["bits_per_second"] / 1e6, True)
UDP_LOSS = Figure("lost", "%", 2, lambda pair: pair["udp-1372"]["lost_percent"], False)
CHARTED = [
    ("One TCP stream, up", "Gbit/s, more is better", FIGURES[0]),
    ("Four TCP streams, up", "Gbit/s, more is better", FIGURES[2]),
    ("Processor time of both ends for TCP", "seconds per GB, less is better", FIGURES[4]),
    ("UDP packets of 64 bytes", "thousands a second, more is better", FIGURES[5]),
    ("Ping under four TCP streams", "µs, less is better", FIGURES[7]),
]


class Results:
    """All readings: subject -> round -> measure -> reading."""

    def __init__(self, path):
        self.run, self.pairs = None, {}
        with open(path, encoding="utf-8") as file:
            for entry in map(json.loads, file):
                if entry["kind"] == "run":
                    self.run = entry
                else:
                    rounds = self.pairs.setdefault(entry["subject"], {})
                    rounds.setdefault(entry["round"], {})[entry["measure"]] = entry

    def subjects(self):
        """In the order in which they were named, those that have figures."""
        return [name for name in self.run["versions"] if name in self.pairs]

    def values(self, subject, figure):
        return [figure.compute(pair) for pair in self.pairs[subject].values()]

    def ratios(self, subject, figure):
        """Against the reference in the same round."""
        reference = self.pairs.get(REFERENCE, {})
        rounds = self.pairs[subject].keys() & reference.keys()
        return [figure.compute(self.pairs[subject][n]) / figure.compute(reference[n]) for n in sorted(rounds)]


def name_of(subject):
    return NAMES.get(subject, subject)


def counted(number, noun):
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def tables(results):
    run, kind = results.run, results.run["machine"]
    virtual = "" if kind["virtual"] in ("none", "unknown") else f", a virtual machine ({kind['virtual']})"
    lines = [
        f"{run['date']}; {kind['cpu']}, {kind['cores']} cores{virtual}, Linux {kind['kernel']}; "
        f"{counted(run['rounds'], 'round')}, every transfer {run['seconds']} s.",
        "",
        "Medians over the rounds; ↑ from client to gateway, ↓ back:",
        "",
        *table(results, FIGURES, lambda s, f: f"{statistics.median(results.values(s, f)):,.{f.digits}f}", Figure.heading),
        "",
    ]
    if REFERENCE in results.pairs:
        lines += [
            f"As multiples of {REFERENCE} in the same round, median of the rounds (lowest–highest). For CPU, ping and memory less is better:",
            "",
            *table(results, FIGURES, lambda s, f: spread(results.ratios(s, f)), lambda figure: figure.title),
            "",
        ]
    lines += [
        f"UDP datagrams of 1372 bytes, sent at {run['udp_rate'].replace('M', ' Mbit/s').replace('G', ' Gbit/s')}; median, and worst round:",
        "",
        "| | received, Mbit/s | lost, % | lost at worst, % |",
        "|---|--:|--:|--:|",
    ]
    for subject in results.subjects():
        received, lost = results.values(subject, UDP_RECEIVED), results.values(subject, UDP_LOSS)
        lines.append(
            f"| {name_of(subject)} | {statistics.median(received):,.0f} | {statistics.median(lost):.2f} | {max(lost):.2f} |"
        )
    versions = sorted({f"{subject}: {version}" for subject, version in run["versions"].items() if subject not in OURS})
    if versions:
        lines += ["", "Versions: " + "; ".join(versions) + "."]
    return "\n".join(lines)


def table(results, figures, cell, heading):
    yield "| | " + " | ".join(heading(figure) for figure in figures) + " |"
    yield "|---|" + "--:|" * len(figures)
    for subject in results.subjects():
        yield f"| {name_of(subject)} | " + " | ".join(cell(subject, figure) for figure in figures) + " |"


def spread(ratios):
    if not ratios:
        return "–"
    median = f"{statistics.median(ratios):.2f}"
    return median if len(ratios) == 1 else f"{median} ({min(ratios):.2f}–{max(ratios):.2f})"


def draw(results):
    panels = []
    for title, unit, figure in CHARTED:
        bars = []
        for subject in results.subjects():
            values = results.values(subject, figure)
            text = f"{statistics.median(values):,.{figure.digits}f}"
            bars.append(chart.Bar(name_of(subject), statistics.median(values), min(values), max(values), text, subject in OURS))
        panels.append(chart.Panel(title, unit, bars))
    kind = results.run["machine"]
    return chart.draw(panels, f"{kind['cpu']}, {kind['cores']} cores, Linux {kind['kernel']}; medians of {counted(results.run['rounds'], 'round')}")


def publish(part, path):
    begin, end = f"<!-- {part}: scripts/bench.sh --publish writes from here -->", f"<!-- {part}: to here -->"
    with open(path, encoding="utf-8") as file:
        text = file.read()
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        sys.exit(f"{path} has no place for it: the lines {begin} and {end}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{begin}\n{sys.stdin.read().strip()}\n{end}{after}")


def main():
    match sys.argv[1:]:
        case ["table", path]:
            print(tables(Results(path)))
        case ["chart", path]:
            print(draw(Results(path)))
        case ["publish", part, document]:
            publish(part, document)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()

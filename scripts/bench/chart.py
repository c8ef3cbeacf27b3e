"""Draws panels of horizontal bars as SVG, legible on light and on dark ground."""

from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

WIDTH = 760
MARGIN = 16
LABELS = 210  # room for the names, left of the bars
VALUES = 70  # room for the figures, right of the longest bar
BAR = 16  # height of a bar
ROW = 24  # from one bar to the next
TITLE = 40  # height of a panel's title
GAP = 14  # between panels

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; }
  .quiet { fill: #59636e; font-size: 12px; }
  .ours { fill: #0969da; }
  .other { fill: #a8b1bb; }
  .range { stroke: #1f2328; stroke-width: 1.5; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .quiet { fill: #9198a1; }
    .ours { fill: #4493f8; }
    .other { fill: #656c76; }
    .range { stroke: #f0f6fc; }
  }
"""


@dataclass
class Bar:
    """A subject's median with the lowest and highest of its rounds; `text` is the median as it is written."""

    name: str
    median: float
    low: float
    high: float
    text: str
    ours: bool


@dataclass
class Panel:
    """One kind of figure, with a scale of its own that begins at zero."""

    title: str
    unit: str
    bars: list


def draw(panels, caption):
    """The whole chart; the caption stands below it."""
    parts, top = [], MARGIN
    for panel in panels:
        parts += draw_panel(panel, top)
        top += TITLE + ROW * len(panel.bars) + GAP
    parts.append(text(MARGIN, top + 8, f"{caption}; the lines span lowest and highest", "quiet"))
    height = top + 8 + MARGIN
    summary = "; ".join(f"{panel.title}: " + ", ".join(f"{bar.name} {bar.text}" for bar in panel.bars) for panel in panels)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label={quoteattr(summary)}>'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>"])


def draw_panel(panel, top):
    yield text(MARGIN, top + 14, panel.title, "title")
    yield text(MARGIN, top + 30, panel.unit, "quiet")
    longest = max(bar.high for bar in panel.bars) or 1
    scale = (WIDTH - 2 * MARGIN - LABELS - VALUES) / longest
    left = MARGIN + LABELS
    for row, bar in enumerate(panel.bars):
        y = top + TITLE + row * ROW
        middle = y + BAR / 2
        yield text(left - 8, middle + 4, bar.name, "", "end")
        kind = "ours" if bar.ours else "other"
        yield f'<rect x="{left}" y="{y}" width="{bar.median * scale:.1f}" height="{BAR}" rx="2" class="{kind}"/>'
        if bar.high > bar.low:
            low, high = left + bar.low * scale, left + bar.high * scale
            yield f'<line x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}" class="range"/>'
        yield text(left + bar.high * scale + 8, middle + 4, bar.text, "")


def text(x, y, content, kind, anchor="start"):
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{escape(content)}</text>'

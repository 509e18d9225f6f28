"""Schematic figures of AE-FLOW, drawn with matplotlib only."""

from __future__ import annotations

from itertools import pairwise

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon

from aeflow_utils.show.alt_texts import described

Point = tuple[float, float]

# (fill, edge) for each role; the edge colour is also used for the role's captions.
PALETTE: dict[str, tuple[str, str]] = {
    "data": ("#ffffff", "#5b6470"),
    "encoder": ("#d9e2ec", "#486581"),
    "flow": ("#d3efec", "#1f7a74"),
    "decoder": ("#fbe3cf", "#b8651b"),
    "score": ("#e6e8eb", "#343a40"),
}
FRAME = {"facecolor": "#fafbfb", "edgecolor": "#c3c9d0", "zorder": 0}
INK = "#262b31"
DIM = "#5b6470"  # of notes and captions
FONT = 14.5
SMALL = 13.5
SHAPE = r"$C{\times}H{\times}W$"
MARGIN = 0.1
PAD = 0.07  # gap between an arrow's end and the box it touches, in inches


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure whose data units are inches, like the sizes of its fonts."""
    fig = plt.figure(figsize=(width + 2 * MARGIN, height + 2 * MARGIN), facecolor="white")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(-MARGIN, width + MARGIN), ylim=(-MARGIN, height + MARGIN))
    ax.axis("off")
    return fig, ax


def write(ax: Axes, at: Point, label: str, size: float = FONT, color: str = INK, **kw) -> None:
    kw = {"ha": "center", "va": "center", "linespacing": 1.35, "zorder": 4} | kw
    ax.text(*at, label, fontsize=size, color=color, **kw)


def box(
    ax: Axes, at: Point, size: Point, label: str = "", role: str = "data", font: float = FONT, **kw
) -> None:
    """Draw a rounded box centred on `at`."""
    (x, y), (w, h), (fill, edge) = at, size, PALETTE[role]
    style = {"facecolor": fill, "edgecolor": edge, "linewidth": 1.5, "zorder": 3} | kw
    corner = (x - w / 2, y - h / 2)
    ax.add_patch(FancyBboxPatch(corner, w, h, boxstyle="round,pad=0,rounding_size=0.1", **style))
    write(ax, at, label, font)


def trapezoid(ax: Axes, at: Point, width: float, heights: Point, label: str, role: str) -> None:
    """Draw a trapezoid whose left and right sides have the two given heights."""
    (x, y), (left, right) = at, heights
    x0, x1 = x - width / 2, x + width / 2
    corners = [(x0, y - left / 2), (x0, y + left / 2), (x1, y + right / 2), (x1, y - right / 2)]
    fill, edge = PALETTE[role]
    ax.add_patch(Polygon(corners, fc=fill, ec=edge, lw=1.5, joinstyle="round", zorder=3))
    write(ax, at, label)


def arrow(ax: Axes, *points: Point) -> None:
    """Draw an arrow along straight segments through `points`, with a head at the last one."""
    style = {"color": INK, "linewidth": 1.5, "zorder": 2}
    if len(points) > 2:
        corners = {"solid_joinstyle": "miter", "solid_capstyle": "projecting"}
        ax.plot(*zip(*points[:-1], strict=True), **corners, **style)
    ends = {"arrowstyle": "-|>", "mutation_scale": 15, "shrinkA": 0, "shrinkB": 0}
    ax.add_patch(FancyArrowPatch(points[-2], points[-1], **ends, **style))


def chain(ax: Axes, y: float, spans: list[Point]) -> None:
    """Join boxes at height y by arrows; `spans` are their edges, whose outermost do not count."""
    for (_, right), (left, _) in pairwise(spans):
        arrow(ax, (right + PAD, y), (left - PAD, y))


def draw_coupling_block() -> Figure:
    """Draw one FrEIA `AllInOneBlock` and the two subnets it can hold.

    The block couples first, then applies the global affine map, then permutes the channels.
    """
    fig, ax = canvas(12.4, 7.5)
    _block(ax)
    _subnets(ax)
    return described(
        fig,
        """Block diagram of one coupling block. The channels of z are split into z1 and z2. z1
        stays as it is and feeds a subnet, whose outputs s and t scale and shift z2. Both halves
        are joined, then every channel is scaled and shifted, then the channels are permuted,
        which gives z'. The log-determinant grows by the sum of the clamped s and by the number
        of positions times the sum of the logarithms of the channels' scales. Below, the two
        subnets: conv_like is a 3 by 3 convolution, ReLU and a 1 by 1 convolution; resnet_like
        is a 3 by 3 convolution, batch normalisation and ReLU, plus a 1 by 1 convolution beside
        them.""",
    )


def _block(ax: Axes) -> None:
    box(ax, (6.2, 4.95), (9.4, 4.8), **FRAME)
    write(ax, (1.75, 7.03), "one coupling block", weight="bold", ha="left")
    top, subnet, mid, low, det = 6.35, 5.48, 5.3, 4.25, 3.1

    box(ax, (0.72, mid), (1.1, 0.95), "$z$\n" + SHAPE, font=SMALL)
    box(ax, (11.73, top - 0.1), (0.9, 0.7), "$z'$")
    for x, label in ((1.96, "split channels"), (7.72, "concatenate")):
        box(ax, (x, mid), (0.42, 2.8), role="flow")
        write(ax, (x, mid), label, SMALL, rotation=90)
    box(ax, (4.3, subnet), (2.4, 0.62), r"subnet, output $\times\,0.1$", "flow", SMALL)
    coupling = r"$z_2' = z_2 \odot \exp(\mathrm{clamp}(s)) + t$"
    box(ax, (4.8, low), (3.9, 0.7), coupling, "flow")
    scaling = "global affine\n" + r"$a_c z_c + b_c$" + "\n" + r"$a$ via Softplus"
    box(ax, (9.5, low + 0.2), (2.1, 1.1), scaling, "flow", SMALL)
    box(ax, (9.5, top - 0.1), (2.1, 0.9), "permute channels\n(fixed, hard)", "flow", SMALL)
    data_part, constant_part = r"\sum \mathrm{clamp}(s)", r"HW \,\sum_c \,\log a_c"
    jacobian = rf"$\log|\det J| \;\;{{+}}\!{{=}}\;\; {data_part} \;+\; {constant_part}$"
    box(ax, (6.7, det), (7.7, 0.66), jacobian, "score")

    chain(ax, mid, [(0, 1.27), (1.75, 2.17)])
    chain(ax, top, [(0, 2.17), (7.51, 0)])
    chain(ax, low, [(0, 2.17), (2.85, 6.75), (7.51, 0)])
    chain(ax, low + 0.2, [(0, 7.93), (8.45, 0)])
    chain(ax, top - 0.1, [(0, 10.55), (11.28, 0)])
    arrow(ax, (4.3, top), (4.3, subnet + 0.31 + PAD))
    arrow(ax, (4.3, subnet - 0.31 - PAD), (4.3, low + 0.35 + PAD))
    arrow(ax, (9.5, low + 0.75 + PAD), (9.5, top - 0.55 - PAD))
    for x in (4.8, 9.5):
        arrow(ax, (x, low - 0.35 - PAD), (x, det + 0.33 + PAD))
    write(ax, (2.48, top + 0.2), "$z_1$")
    write(ax, (5.9, top + 0.2), "unchanged", SMALL)
    write(ax, (2.48, low + 0.22), "$z_2$")
    write(ax, (7.1, low + 0.26), "$z_2'$")
    write(ax, (4.5, 4.89), "$(s, t)$", ha="left")
    write(ax, (6.35, 4.91), r"$\mathrm{clamp}(s) = \kappa\,\tanh s$", SMALL)


def _subnets(ax: Axes) -> None:
    y, short, plus = 1.3, 0.52, 10.88
    conv, point = r"$3{\times}3$ conv", r"$1{\times}1$ conv"
    for left, right, name in ((0.17, 5.68, "conv_like"), (5.83, 12.23, "resnet_like")):
        box(ax, ((left + right) / 2, 1.22), (right - left, 2.3), **FRAME)
        write(ax, (left + 0.25, 2.05), name, weight="bold", ha="left", family="monospace")
        write(ax, (left + 0.35, y), "$z_1$")
        write(ax, (right - 0.4, y), "$(s, t)$")
    boxes = {conv: 1.15, "ReLU": 0.75, point: 1.15}
    chain(ax, y, [(0, 0.62), *_row(ax, 1.05, y, 0.3, boxes), (5.05, 0)])
    boxes = {conv: 1.1, "BatchNorm": 1.25, "ReLU": 0.75}
    sum_at = (plus - 0.17, plus + 0.17)
    chain(ax, y, [(0, 6.25), *_row(ax, 6.73, y, 0.29, boxes), sum_at, (11.6, 0)])
    ax.add_patch(Circle((plus, y), 0.17, fc="white", ec=INK, lw=1.5, zorder=3))
    write(ax, (plus, y), "+")
    box(ax, (8.5, short), (1.15, 0.5), point, "flow", SMALL)
    arrow(ax, (6.42, y), (6.42, short), (7.925 - PAD, short))
    arrow(ax, (9.075 + PAD, short), (plus, short), (plus, y - 0.17 - PAD))


def _row(ax: Axes, left: float, y: float, gap: float, boxes: dict[str, float]) -> list[Point]:
    """Draw boxes of the flow by label and width, from left to right; returns their edges."""
    spans = []
    for label, width in boxes.items():
        box(ax, (left + width / 2, y), (width, 0.56), label, "flow", SMALL)
        spans.append((left, left + width))
        left += width + gap
    return spans


def draw_architecture() -> Figure:
    """Draw the AE-FLOW pipeline from image to reconstruction, with its anomaly score and loss."""
    fig, ax = canvas(12.85, 6.0)
    _pipeline(ax, 4.4)
    _score(ax, 2.45, 4.4 - 0.55 - PAD)
    box(ax, (6.425, 0.68), (12.45, 0.95), **FRAME)
    loss = r"$L = \alpha \cdot \mathrm{bits/dim} + (1-\alpha) \cdot \mathrm{MSE}(x, x')$"
    write(ax, (6.425, 0.85), "training loss   " + loss)
    write(ax, (6.425, 0.45), r"$\alpha = 0.5$", SMALL)
    return described(
        fig,
        """Block diagram of AE-FLOW. An image x goes through a frozen encoder f to features z,
        through a flow h of eight invertible coupling blocks to z', which should be standard
        normal, and through a decoder g of four transposed convolutions to the reconstruction x'.
        The score S mixes a flow part, from the likelihood of z', with weight 0.9 and a
        reconstruction part, minus the structural similarity of x and x', with weight 0.1. The
        training loss is the mean of bits per dimension and mean squared error.""",
    )


def _pipeline(ax: Axes, y: float) -> None:
    box(ax, (0.8, y), (1.2, 1.1), "image $x$\n" + r"$3{\times}H{\times}W$", font=SMALL)
    trapezoid(ax, (2.45, y), 1.4, (1.8, 1.0), "encoder\n$f$", "encoder")
    small = r"$C{\times}H/16{\times}W/16$"
    box(ax, (4.3, y), (1.6, 1.1), "features $z$\n" + small, font=SMALL)
    box(ax, (6.2, y), (1.5, 1.1), "flow\n$h$", "flow")
    box(ax, (8.05, y), (1.5, 1.1), "$z'$\n" + r"$\sim \mathcal{N}(0, I)$")
    trapezoid(ax, (9.9, y), 1.4, (1.0, 1.8), "decoder\n$g$", "decoder")
    box(ax, (11.8, y), (1.7, 1.1), "reconstruction\n$x'$", font=SMALL)
    edges = [(0.2, 1.4), (1.75, 3.15), (3.5, 5.1), (5.45, 6.95), (7.3, 8.8), (9.2, 10.6)]
    chain(ax, y, [*edges, (10.95, 12.65)])
    for x, role, note in (
        (2.45, "encoder", "frozen,\nImageNet"),
        (6.2, "flow", "8 coupling blocks,\ninvertible"),
        (9.9, "decoder", "transposed convs,\n" + r"$\times 2$, four times"),
    ):
        write(ax, (x, y + 1.2), note, SMALL, PALETTE[role][1])


def _score(ax: Axes, y: float, top: float) -> None:
    """The three parts of the score at height y, and arrows to them from the pipeline's edge."""
    recon = r"$S_\mathrm{recon}$" + "\n" + r"$=-\mathrm{SSIM}(x, x')$"
    box(ax, (1.2, y), (2.0, 0.95), recon, "score")
    box(ax, (4.5, y), (3.3, 0.95), role="score", linewidth=2.5)
    mixed = r"$S = \beta\,S_\mathrm{flow} + (1-\beta)\,S_\mathrm{recon}$"
    write(ax, (4.5, y + 0.17), mixed)
    write(ax, (4.5, y - 0.23), r"$\beta = 0.9$", SMALL)
    flow = r"$S_\mathrm{flow}$" + "\n" + r"from likelihood of $z'$"
    box(ax, (8.05, y), (2.5, 0.95), flow, "score")
    for x in (0.8, 8.05):
        arrow(ax, (x, top), (x, y + 0.475 + PAD))
    arrow(ax, (11.8, top), (11.8, y - 0.9), (1.2, y - 0.9), (1.2, y - 0.475 - PAD))
    arrow(ax, (2.2 + PAD, y), (2.85 - PAD, y))
    arrow(ax, (6.8 - PAD, y), (6.15 + PAD, y))

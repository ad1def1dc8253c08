"""A report as a bar chart: throughput of each contestant, with the range of its rounds."""

import io
from pathlib import Path

from jaxmusic.benchmarks.results.measurement import Report
from jaxmusic.benchmarks.results.statistics import summarise
from jaxmusic.config import ConfigError
from jaxmusic.storage.outputs import write_output

FORMATS = ("png", "svg", "pdf")
OURS, OTHERS = "#1f6f8b", "#b9c4c9"  # of the first of a group, and of the others


def check_chart(path: Path) -> None:
    """Raise ConfigError if matplotlib is missing or the format unknown."""
    if _picture_format(path) not in FORMATS:
        raise ConfigError(f"--plot {path} is not a .png, .svg or .pdf: give one of these.")
    try:
        import matplotlib  # noqa: F401, PLC0415
    except ImportError:
        raise ConfigError("--plot needs matplotlib: pip install -e '.[plot]'.") from None


def draw_chart(report: Report, path: Path) -> None:
    """Draw the chart in the format of the file's suffix."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    groups = {
        group: [each for each in measurements if "part" not in each.extras]
        for group, measurements in report.measured().items()
    }
    if not groups:
        return
    rows = sum(map(len, groups.values())) + 1.2 * len(groups)
    figure, panels = plt.subplots(
        len(groups), 1, figsize=(8, 0.8 + 0.42 * rows), squeeze=False,
        height_ratios=[len(each) + 1 for each in groups.values()], layout="constrained",
    )  # fmt: skip
    for panel, (group, measurements) in zip(panels[:, 0], groups.items(), strict=True):
        work = next(iter(measurements[0].work))
        for row, each in enumerate(measurements):
            seconds = summarise(each.samples)
            amount = each.work[work]
            rate, low, high = (
                amount / value for value in (seconds.median, seconds.high, seconds.low)
            )
            panel.barh(
                row, rate, xerr=[[rate - low], [high - rate]], height=0.7, capsize=3,
                color=OURS if row == 0 else OTHERS, ecolor="#444444",
            )  # fmt: skip
            panel.text(high, row, f"  {rate:,.4g}", va="center", fontsize=9)
        panel.set_yticks(range(len(measurements)), [each.name for each in measurements])
        panel.invert_yaxis()
        panel.margins(x=0.12)
        panel.set_title(group, loc="left", fontsize=10)
        panel.set_xlabel(f"{work} a second", fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150, format=_picture_format(path))
    plt.close(figure)
    write_output(path, picture.getvalue())


def _picture_format(path: Path) -> str:
    return path.suffix[1:].lower() or "png"  # /dev/stdout has no suffix

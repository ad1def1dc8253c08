"""The evaluation of a run as lines of tables."""

import math
from collections.abc import Iterable, Sequence

from jaxmusic.evaluation.evaluate import UNITS, Evaluation
from jaxmusic.evaluation.likelihood.network import Estimate, Likelihood
from jaxmusic.evaluation.music.comparison import LONG_REPEAT
from jaxmusic.evaluation.music.copying import GRAMS
from jaxmusic.evaluation.music.failures import LAGS
from jaxmusic.evaluation.music.statistics import HISTOGRAMS, SCALARS

SETS = {"generated": "generated", "held_out": "held-out songs", "training": "training songs"}
UNIT_WORDS = {"second": "second at 120"}  # quarters a minute


def report_lines(found: Evaluation) -> list[str]:
    """All tables, with what their columns mean."""
    return [
        f"{found.run}, step {found.step:,}: scheme {found.scheme}, objective {found.objective}",
        *_likelihood(found),
        *_statistics(found),
        *_copying(found),
        *_failures(found),
        *(["", *found.warnings] if found.warnings else []),
    ]


def _likelihood(found: Evaluation) -> Iterable[str]:
    how = (
        "the LSTM state is carried through whole songs"
        if found.objective == "every"
        else "each token after a window of its own, as in training"
    )
    yield ""
    yield f"1. Likelihood in bits, lower is better ({how})"
    if found.held_out is None and found.training is None:
        yield "   No song has a token that can be predicted: they are shorter than a window."
        return
    rows: list[list[str]] = []
    for name, part in (("held-out", found.held_out), ("training", found.training)):
        if part is None:
            continue
        units = [unit for unit in UNITS if unit in part.models["network"]]
        header = [f"a {UNIT_WORDS.get(unit, unit)}" for unit in units]
        rows.append([f"{part.songs:,} {name} songs, {part.tokens:,} tokens", *header])
        rows += [
            [f"  {model}", *(_estimate(by_unit[unit]) for unit in units)]
            for model, by_unit in part.models.items()
        ]
        if part.gain:
            rows.append(
                ["  best n-gram - network", *(_estimate(part.gain[unit]) for unit in units)]
            )
    yield from _table(rows)
    yield "   In brackets: 95 % intervals, by bootstrap over songs."
    yield from _kinds(found.held_out or found.training)
    left_out = sum(part.left_out for part in (found.held_out, found.training) if part is not None)
    if left_out:
        yield f"   {left_out:,} tokens are unknown to the run, and were left out."


def _kinds(part: Likelihood | None) -> Iterable[str]:
    if part is None or len(part.kinds) < 2:
        return
    yield ""
    rows = [["by kind of token (network)", "tokens", "bits a token", "of a note's bits"]]
    rows += [
        [f"  {kind}", f"{each.tokens:,}", _number(each.bits_per_token), _number(each.bits_per_note)]
        for kind, each in part.kinds.items()
    ]
    yield from _table(rows)


def _statistics(found: Evaluation) -> Iterable[str]:
    yield ""
    yield (
        f"2. Music: {found.pieces:,} pieces, beside excerpts of {found.notes_a_piece:,} notes (the "
        "pieces' median) of songs"
    )
    columns = ["generated", "held-out", "training", "5 - 95 %", "inside", "area", "ceiling"]
    rows = [["medians", *columns]]
    for name, each in found.scalars.items():
        rows.append(
            [
                f"  {SCALARS[name].words}",
                *map(_number, (each.generated, each.held_out, each.training)),
                f"{_number(each.training_low)} - {_number(each.training_high)}",
                _percent(each.generated_inside),
                *map(_number, (each.generated_area, each.held_out_area)),
            ]
        )
    yield from _table(rows)
    yield ""
    rows = [["histograms", "shared mass", "ceiling", "area", "ceiling"]]
    for name, histogram in found.histograms.items():
        values = (
            histogram.generated_shared, histogram.held_out_shared,
            histogram.generated_area, histogram.held_out_area,
        )  # fmt: skip
        rows.append([f"  {HISTOGRAMS[name].words}", *map(_number, values)])
    yield from _table(rows)
    yield "   inside: pieces in the training songs' 5 - 95 % range. area: overlapping area with the"
    yield "   training songs (Yang and Lerch 2020). ceiling: the same of held-out songs."
    if not any(SCALARS[name].needs_times for name in found.scalars):
        yield f"   The scheme {found.scheme} has no rhythm: all measures of time are left out."


def _copying(found: Evaluation) -> Iterable[str]:
    yield ""
    yield "3. Copying: notes in a row that a training song has too, in any key"
    rows = [["", "longest, median", "longest", *(f"runs of {grams}" for grams in GRAMS)]]
    for name, each in found.copying.items():
        shares = [_percent(each.shares[str(grams)]) for grams in GRAMS]
        rows.append([f"  {SETS[name]}", _number(each.median_longest), f"{each.longest:,}", *shares])
    yield from _table(rows)
    yield "   runs of N: the share of a piece's runs of N notes that a training song has."


def _failures(found: Evaluation) -> Iterable[str]:
    yield ""
    yield "4. Failure: pieces stuck to one pitch or token, and repeats inside a piece"
    with_bars = bool(found.failures["generated"].similarity)
    lags = [f"bar lag {lag}" for lag in LAGS] if with_bars else []
    rows = [["", "stuck", "repeat, median", "longest", f"over {LONG_REPEAT}", "one pitch", *lags]]
    for name, each in found.failures.items():
        rows.append(
            [
                f"  {SETS[name]}", f"{each.stuck:,}", _number(each.median_repeat),
                f"{each.longest_repeat:,}", _percent(each.long_repeats),
                f"{each.longest_pitch_run:,}",
                *map(_number, each.similarity.values()),
            ]
        )  # fmt: skip
    yield from _table(rows)
    yield f"   repeat: the longest run that comes twice; over {LONG_REPEAT}: pieces with one that"
    yield "   has more notes than that. one pitch: the longest run of one pitch."
    if with_bars:
        yield "   bar lag N: what bars of four quarters, N apart, have in common of their notes."


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side, the first to the left and the others to the right."""
    widths = [
        max(len(row[column]) for row in rows if column < len(row))
        for column in range(max(map(len, rows)))
    ]
    return [
        "   "
        + "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for row in rows
    ]


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0%}"


def _estimate(each: Estimate) -> str:
    value = f"{each.value:.2f}" if math.isfinite(each.value) else "-"
    return value if math.isnan(each.low) else f"{value} [{each.low:.2f}, {each.high:.2f}]"

"""Charts of a sweep: what is drawn for rows of every kind, without a warning; legends that say which line is which."""

import io

import matplotlib.pyplot as plt
import pytest

from pipelines import sweep_charts

pytestmark = pytest.mark.filterwarnings("error")
TITLE = "grid over hhl.beta x hhl.n_t: market -> duke"


def row(score: float | None, deviation: float | None = None, **point) -> dict:
    """A finished trial's row, or a failed one's cell (score None); options by their short names."""
    names = {"beta": "hhl.beta", "n_t": "hhl.n_t", "styles": "hhl.styles", "jitter": "hhl.jitter", "start": "hhl.start"}
    found = {"point": {names[name]: value for name, value in point.items()}}
    if score is not None:
        found |= {"mAP": score, "rank1": score + 0.1, "style_retrieval": 1 - score}
    if deviation is not None:
        found |= {"mAP_deviation": deviation, "rank1_deviation": deviation}
    return found


@pytest.fixture
def drawn():
    """drawn(figure): it has been drawn to the last glyph."""

    def draw(figure: plt.Figure) -> plt.Figure:
        figure.savefig(io.BytesIO(), dpi=60)
        return figure

    yield draw
    plt.close("all")


def lines(axis) -> dict[str, list[tuple]]:
    """label -> points of each line with error bars, rounded."""
    found = {}
    for container in axis.containers:
        label = "" if container.get_label().startswith("_") else container.get_label()  # matplotlib's own for none
        found[label] = [(round(x, 6), round(y, 6)) for x, y in container.lines[0].get_xydata().tolist()]
    return found


def legend(axis) -> list[str]:
    return [text.get_text() for text in axis.get_legend().get_texts()] if axis.get_legend() else []


def test_a_curve_over_one_option(drawn):
    rows = [row(0.3, beta=2.0), row(0.2, beta=0.1), row(0.4, beta=0.5)]
    figure = drawn(sweep_charts.curves("hhl.beta", rows, TITLE))
    rank1, mAP = figure.axes
    assert lines(rank1) == {"": [(0.1, 30), (0.5, 50), (2.0, 40)]}
    assert lines(mAP) == {"": [(0.1, 20), (0.5, 40), (2.0, 30)]}
    assert [axis.get_xlabel() for axis in figure.axes] == ["beta", "beta"]
    assert [axis.get_ylabel() for axis in figure.axes] == ["rank-1 on the target (%)", "mAP on the target (%)"]
    assert legend(rank1) == legend(mAP) == [] and figure.get_suptitle() == TITLE


def test_a_line_for_each_value_of_the_other_option(drawn):
    rows = [row(0.01 * n_t + beta / 10, beta=beta, n_t=n_t) for n_t in (16, 4, 8) for beta in (0.5, 0.1)]
    rank1, mAP = drawn(sweep_charts.curves("hhl.beta", rows, TITLE)).axes
    assert legend(rank1) == legend(mAP) == ["n_t 4", "n_t 8", "n_t 16"]
    assert lines(mAP)["n_t 8"] == [(0.1, 9), (0.5, 13)]
    rank1, mAP = drawn(sweep_charts.curves("hhl.n_t", rows, TITLE)).axes
    assert legend(mAP) == ["beta 0.1", "beta 0.5"]
    assert lines(mAP)["beta 0.1"] == [(4, 5), (8, 9), (16, 17)]
    assert len({str(container.lines[0].get_color()) for container in mAP.containers}) == 2


def test_a_line_for_all_others_together_where_there_are_several(drawn):
    rows = [row(0.1, beta=b, n_t=n, styles=s) for b in (0.1, 0.5) for n in (4, 8) for s in ("copies", "jitter")]
    axis = drawn(sweep_charts.curves("hhl.beta", rows, TITLE)).axes[0]
    assert legend(axis) == [f"n_t {n}, hhl.styles {s}" for n in (4, 8) for s in ("copies", "jitter")]


def test_deviations_are_error_bars(drawn):
    rows = [row(0.2, 0.03, beta=0.1), row(0.4, 0.0, beta=0.5), row(0.3, beta=1.0)]
    axis = drawn(sweep_charts.curves("hhl.beta", rows, TITLE)).axes[1]
    (container,) = axis.containers
    heights = [segment[:, 1].tolist() for segment in container.lines[2][0].get_segments()]
    assert heights == [pytest.approx([17, 23]), pytest.approx([40, 40]), pytest.approx([30, 30])]


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        (["jitter", "copies"], ["copies", "jitter"]),
        ([True, False], ["False", "True"]),
        ([[0.1, 0.1], [0.2, 0.2]], ["[0.1, 0.1]", "[0.2, 0.2]"]),
        ([None, "pretrain", 3], ["3", "None", "pretrain"]),
        ([None, 10.0, 2.5], ["2.5", "10.0", "None"]),
    ],
)
def test_values_that_are_no_numbers_stand_one_after_another(drawn, values, ticks):
    rows = [row(place / 10, styles=value) for place, value in enumerate(values)]
    axis = drawn(sweep_charts.curves("hhl.styles", rows, TITLE)).axes[1]
    assert [label.get_text() for label in axis.get_xticklabels()] == ticks
    places = [ticks.index(str(value)) for value in values]
    assert lines(axis)[""] == sorted((place, 10.0 * number) for number, place in enumerate(places))


def test_one_value_and_one_trial_are_drawn(drawn):
    for point in ({"beta": 0.5}, {"styles": "copies"}, {"beta": 0.5, "n_t": 4}):
        figure = drawn(sweep_charts.curves(f"hhl.{next(iter(point))}", [row(0.2, **point)], TITLE))
        assert [len(points) for points in lines(figure.axes[0]).values()] == [1] and legend(figure.axes[0]) == []
    drawn(sweep_charts.heat_map(("hhl.beta", "hhl.n_t"), [row(0.2, beta=0.5, n_t=4)], "mAP", TITLE))
    drawn(sweep_charts.agreement([row(0.2, beta=0.5)], None, TITLE))


def test_rows_without_a_metric_leave_their_place_empty(drawn):
    """One stopped early has the sweep's metric alone, and one maximised by style retrieval alone has no curve of its own."""
    stopped = {"point": {"hhl.beta": 0.5}, "mAP": 0.1}
    rank1, mAP = drawn(sweep_charts.curves("hhl.beta", [row(0.2, beta=0.1), stopped, row(None, beta=1.0)], TITLE)).axes
    assert len(lines(rank1)[""]) == 1 and len(lines(mAP)[""]) == 2
    (only,) = drawn(sweep_charts.curves("hhl.beta", [stopped], TITLE)).axes
    assert only.get_ylabel() == "mAP on the target (%)"


def test_random_draws_make_one_line(drawn):
    """The others never repeat: a line for each value would be a legend of dots."""
    rows = [row(0.1 * n, beta=0.1 * n + 0.01, n_t=n) for n in range(6)]
    for option in ("hhl.beta", "hhl.n_t"):
        axis = drawn(sweep_charts.curves(option, rows, TITLE)).axes[0]
        assert legend(axis) == [] and [len(points) for points in lines(axis).values()] == [6]


@pytest.mark.slow
@pytest.mark.parametrize("pair", sweep_charts.PUBLISHED)
@pytest.mark.parametrize("option", ["hhl.beta", "hhl.n_t"])
def test_the_published_curve_stands_beside_rank_1_if_it_is_given(drawn, pair, option):
    short = option.removeprefix("hhl.")
    rows = [row(0.1 * n, **{short: n}) for n in range(3)]
    values, rank1 = published = sweep_charts.PUBLISHED[pair][option]
    assert len(values) == len(rank1) and values == sorted(values) and all(30 < percent < 70 for percent in rank1)
    first, second = drawn(sweep_charts.curves(option, rows, TITLE, published)).axes
    assert legend(first) == ["published (real data)"] and legend(second) == []
    dashed = [line for line in first.lines if line.get_linestyle() == "--"]
    assert [line.get_xydata().tolist() for line in dashed] == [
        [list(point) for point in zip(values, rank1, strict=True)]
    ]
    plain = drawn(sweep_charts.curves(option, rows, TITLE))
    assert all(line.get_linestyle() != "--" for axis in (second, *plain.axes) for line in axis.lines)


def test_published_values_are_those_of_the_shipped_spaces():
    """And the papers' best is what their figures say: beta 0.4 to 0.5, n_t 12 to 16."""
    for found in sweep_charts.PUBLISHED.values():
        assert found["hhl.n_t"][0] == [0, 4, 8, 12, 16, 20, 24, 28, 32]
        assert {0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 2} <= set(found["hhl.beta"][0])
        best = {option: max(zip(*curve, strict=True), key=lambda point: point[1])[0] for option, curve in found.items()}
        assert best["hhl.beta"] in (0.4, 0.5) and best["hhl.n_t"] in (12, 16)


def cells(axis) -> list[list[str]]:
    """Texts by row and column."""
    found = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axis.texts}
    return [[found[i, k] for k in range(1 + max(c for _, c in found))] for i in range(1 + max(r for r, _ in found))]


def frames(axis) -> list[tuple[int, int]]:
    """Row and column of the framed cells."""
    return [(round(p.get_y() + 0.5), round(p.get_x() + 0.5)) for p in axis.patches]


def test_a_heat_map_has_the_first_option_in_rows(drawn):
    rows = [row(beta / 10 + n_t / 100, beta=beta, n_t=n_t) for n_t in (16, 0, 4) for beta in (0.5, 0.1)]
    axis = drawn(sweep_charts.heat_map(("hhl.beta", "hhl.n_t"), rows, "mAP", TITLE)).axes[0]
    assert cells(axis) == [["1.0", "5.0", "17.0"], ["5.0", "9.0", "21.0"]]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["0.1", "0.5"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "4", "16"]
    assert (axis.get_ylabel(), axis.get_xlabel(), frames(axis)) == ("beta", "n_t", [(1, 2)])


def test_a_heat_map_s_missing_cells_are_dashes(drawn):
    """A failed trial's cell, and one whose row is not there at all; deviations below their means."""
    rows = [row(0.2, 0.01, beta=0.1, n_t=0), row(None, beta=0.1, n_t=4), row(0.3, 0.0, beta=0.5, n_t=4)]
    figure = drawn(sweep_charts.heat_map(("hhl.beta", "hhl.n_t"), rows, "rank1", TITLE))
    assert cells(figure.axes[0]) == [["30.0\n\u00b1 1.0", "\u2013"], ["\u2013", "40.0\n\u00b1 0.0"]]
    assert frames(figure.axes[0]) == [(1, 1)] and figure.axes[1].get_ylabel() == "rank-1 (%)"


def test_a_heat_map_of_values_that_are_no_numbers(drawn):
    rows = [row(0.1, styles=s, jitter=j) for s in ("jitter", "copies") for j in ([0.1, 0.1], [0.2, 0.2])]
    axis = drawn(sweep_charts.heat_map(("hhl.styles", "hhl.jitter"), rows, "style_retrieval", TITLE)).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["copies", "jitter"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["[0.1, 0.1]", "[0.2, 0.2]"]
    assert cells(axis) == [["90.0", "90.0"]] * 2 and len(frames(axis)) == 1


def test_texts_can_be_read_on_their_colours(drawn):
    """White on the dark low ones, black on the bright high ones."""
    rows = [row(value, beta=value, n_t=4) for value in (0.1, 0.2, 0.8, 0.9)]
    axis = drawn(sweep_charts.heat_map(("hhl.beta", "hhl.n_t"), rows, "mAP", TITLE)).axes[0]
    assert [text.get_color() for text in axis.texts] == ["white", "white", "black", "black"]


def test_agreement_has_a_named_dot_for_each_trial_with_both(drawn):
    rows = [row(0.2, beta=0.123456, n_t=4), row(0.3, beta=0.5, n_t=8), {"point": {"hhl.beta": 1.0}, "mAP": 0.9}]
    figure = drawn(sweep_charts.agreement(rows, -0.5, TITLE))
    axis = figure.axes[0]
    assert axis.lines[0].get_xydata().tolist() == [pytest.approx([0.8, 20]), pytest.approx([0.7, 30])]
    assert {text.get_text() for text in axis.texts} == {"beta 0.1235, n_t 4", "beta 0.5, n_t 8"}
    assert " ".join(figure.get_suptitle().split()) == f"{TITLE}: rank correlation -0.50"
    assert "correlation" not in drawn(sweep_charts.agreement(rows, None, TITLE)).get_suptitle()


def test_a_missing_trial_of_a_2_x_2_grid_does_not_join_all_dots():
    rows = [{"point": {"b": b, "n": n}, "mAP": 0.1, "rank1": 0.1} for b, n in ((1, 1), (2, 1), (1, 2))]
    assert len(sweep_charts.curves("b", rows, "t").axes[0].containers) == 2

from __future__ import annotations

from mainspring.cli.output import table

HEADERS = ("ID", "NAME", "TENANT", "LAST USED")
IDS = [f"01a1ff9b-36d5-74fd-93f6-69fbcf89{i:04}" for i in range(3)]


def test_a_table_is_as_wide_as_it_must_be() -> None:
    rows = [(IDS[0], "shop", None, "never"), (IDS[1], "x" * 100, "acme", "today")]
    assert [len(line) for line in table(HEADERS, rows)] == [157, 153, 153]


def test_on_a_terminal_long_cells_are_cut_so_that_the_table_fits() -> None:
    rows = [(IDS[0], "shop", "acme", "never"), (IDS[1], "x" * 100, "acme", "2026-11-21 19:35:14")]
    lines = table(HEADERS, rows, most=100)
    assert [len(line) for line in lines] == [90, 86, 100]
    assert lines[2].startswith(IDS[1] + "  " + "x" * 32 + "…  acme")


def test_what_does_not_fit_goes_on_in_a_line_of_its_own() -> None:
    rows = [(IDS[0], "shop", "acme", "never"), (IDS[1], "x" * 100, "t" * 100, "word " * 14)]
    assert table(HEADERS, rows, most=80) == [
        "ID                                    NAME",
        "    TENANT",
        "    LAST USED",
        f"{IDS[0]}  shop",
        "    acme",
        "    never",
        f"{IDS[1]}  {'x' * 39}…",
        f"    {'t' * 39}…",
        "    " + "word " * 13 + "word",
    ]


def test_what_stands_last_is_not_cut_where_it_has_room() -> None:
    lines = table(("ID", "RULE", "SUMMARY"), [(IDS[0], "r" * 30, "s" * 70)], most=100)
    assert lines[-2:] == [f"{IDS[0]}  {'r' * 30}", "    " + "s" * 70]
    assert table(("WORDS",), [("w" * 90,)], most=80)[1] == "w" * 75 + "…"


def test_times_are_not_cut() -> None:
    rows = [(IDS[0], "x" * 40, "2027-02-19 20:04:00", "never")]
    (_, line) = table(("ID", "NAME", "EXPIRES", "LAST USED"), rows, most=89)
    assert line == f"{IDS[0]}  {'x' * 18}…  2027-02-19 20:04:00  never"


def test_wide_letters_and_marks_keep_columns_straight() -> None:
    lines = table(("NAME", "N"), [("用户一", 1), ("é", 2), ("plain", 30)], right={"N"})
    assert lines == ["NAME     N", "用户一   1", "é        2", "plain   30"]

"""table, audit and plot, as a user types them."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from dimbench import paths, results
from dimbench.papers import printed as tables
from dimbench.report import gallery
from tests.console import dimbench, refused
from tests.papers.made_up import bench, fid


def written(folder: Path, *records: dict[str, Any]) -> Path:
    file = folder / "made-up.jsonl"
    results.append([results.Record(**record) for record in records], file)
    return file


def test_table_alone_lists_them() -> None:
    shown = dimbench("table").stdout
    assert all(name in shown for name in tables.all_tables())
    assert len(json.loads(dimbench("table", "--format", "json").stdout)) == len(tables.all_tables())


def test_table_shows_the_paper_and_ours() -> None:
    shown = dimbench("table", "DiT-4").stdout
    for words in ("118.64", "118.638", "118.62", "dit-paper", "not measured", "second-hand"):
        assert words in shown, words


def test_table_formats() -> None:
    rows = list(csv.DictReader(io.StringIO(dimbench("table", "dit-4", "--format", "csv").stdout)))
    assert rows[-1]["Gflops"] == "118.64"
    lines = dimbench("table", "dit-4", "--format", "markdown").stdout.splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    latex = dimbench("table", "dit-4", "--format", "latex").stdout
    assert latex.count("{") == latex.count("}")
    assert len({line.count(" & ") for line in latex.splitlines() if line.endswith(r"\\")}) == 1
    page = dimbench("table", "dit-4", "--format", "html").stdout
    assert page.startswith("<!doctype html>")
    assert "118.638" in page
    figures = json.loads(dimbench("table", "dit-4", "--format", "json").stdout)
    assert {figure["quantity"] for figure in figures} == {"params", "gflops", "fid"}


def test_table_reads_records(tmp_path: Path) -> None:
    file = written(tmp_path, fid("dit-xl2", 2.31))
    assert "2.310" in dimbench("table", "dit-2", "--records", file).stdout
    assert "2.310" not in dimbench("table", "dit-2").stdout
    paths.records_file().parent.mkdir(parents=True)
    file.rename(paths.records_file())
    assert "2.310" in dimbench("table", "dit-2").stdout


def test_audit_of_one_model() -> None:
    shown = dimbench("audit", "dimsum-l2").stdout
    for words in ("84.49 GFLOPs", "96.598", "calflops", "leaves out 12.5 %", "dimsum-speed", "Of 5 claimed figures"):
        assert words in shown, words


def test_audit_prints_claims_alone_and_writes_its_page(tmp_path: Path) -> None:
    page = tmp_path / "deep" / "audit.html"
    ran = dimbench("audit", "survey-udit-*", "--json", "--html", page)
    claims = json.loads(ran.stdout)
    assert {claim["verdict"] for claim in claims if claim["kind"] == "figure"} == {"agrees", "does not agree"}
    sixth = next(claim for claim in claims if "sixth" in claim.get("says", ""))
    assert (sixth["kind"], sixth["verdict"], sixth["command"]) == (
        "beside a count", "does not hold", "dimbench flops udit-b dit-xl2",
    )  # fmt: skip
    assert all(words in page.read_text() for words in ("the paper itself", "at a sixth of its cost"))
    assert [file.name for file in page.parent.iterdir()] == ["audit.html"]
    markdown = dimbench("audit", "survey-udit-*", "--markdown").stdout
    assert markdown.startswith("| printed by | claims |")


def test_audit_sets_speeds_beside_counts_and_what_was_measured(tmp_path: Path) -> None:
    file = written(tmp_path, bench("dico-xl", 1.0), bench("dit-xl2", 2.0))
    shown = json.loads(dimbench("audit", "dico-xl", "--json", "--records", file).stdout)
    printed = {entry["resolution"]: entry for entry in shown if entry["kind"] == "speed"}
    assert (printed[256]["printed"], printed[256]["measured"][0][0]) == ("2.7", 2.0)
    assert (printed[512]["printed"], printed[512]["measured"]) == ("3.1", [])
    assert printed[256]["by_macs"] == pytest.approx(1.36, abs=0.005)
    text = dimbench("audit", "dico-xl", "--records", file).stdout
    assert all(words in text for words in ("x 2.7", "x 1.36", "x 2.00 on NVIDIA A100", "not measured"))


def test_recipes_say_what_records_reached(tmp_path: Path) -> None:
    name, other = "dit-xl2-256-cfg1.5", "dit-xl2-256-cfg1"
    near, far = fid("dit-xl2", 2.27), fid("dit-xl2", 12.0)
    for record, recipe in ((near, name), (far, other)):
        record["metrics"]["fid_error"] = 0.01
        record["details"] = {"recipe": recipe}
    shown = dimbench("recipes", "--check", written(tmp_path, near, far)).stdout
    assert re.search(rf"{re.escape(name)} .* reached", shown)
    assert re.search(rf"{re.escape(other)} .* not reached", shown)
    (told,) = json.loads(dimbench("recipes", name, "--check", written(tmp_path), "--format", "json").stdout)
    assert (told["recipe"], told["verdict"], told["claimed"]) == (name, "reached", "2.27")
    assert "no record here followed" in refused(1, "recipes", "dim-*", "--check", written(tmp_path))


def test_plot_alone_lists_them() -> None:
    shown = dimbench("plot").stdout
    assert not [name for name in gallery.PLOTS if name not in shown]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gflops-fid", ["DiT", "SiT", "FID-50K", "GMACs", "XL/2"]),
        ("params-macs", ["trained parameters (millions)", "XL/2"]),
        ("pareto", ["TMACs", "front"]),
    ],
)
def test_plots_of_what_is_published(tmp_path: Path, name: str, words: list[str]) -> None:
    file = tmp_path / f"{name}.svg"
    ran = dimbench("plot", name, "dit-xl*", "sit-xl2", "--out", file)
    assert ran.code == 0, ran.stderr
    assert ran.stdout == ""
    assert not [word for word in words if word not in file.read_text()]


def test_plot_of_operators(tmp_path: Path) -> None:
    file = tmp_path / "work.svg"
    assert dimbench("plot", "macs-operator", "dit-s2", "dimsum-b2", "--resolution", 512, "--out", file).code == 0
    words = file.read_text()
    assert "512 x 512" in words
    assert ">attention<" in words
    assert ">31.4<" in words  # of DiT-S/2 at 512


def test_plots_of_records(tmp_path: Path) -> None:
    records = [bench("dit-xl2", (side / 512) ** 2, resolution=side) for side in (256, 512, 1024)]
    records += [bench("dim-h2", side / 512 * 1.5, resolution=side) for side in (256, 512, 1024)]
    records += [bench("dit-xl2", 0.1 * batch, batch=batch, dtype="bf16") for batch in (1, 2, 4)]
    file = written(tmp_path, *records)
    for name in ("latency-resolution", "throughput-batch"):
        ran = dimbench("plot", name, "--records", file, "--out", tmp_path / f"{name}.svg")
        assert ran.code == 0, ran.stderr
    latency = (tmp_path / "latency-resolution.svg").read_text()
    assert "768 px" in latency  # (s / 512)^2 = 1.5 s / 512
    assert "A100" in latency


def test_what_is_said_of_a_method_alone_is_audited(tmp_path: Path) -> None:
    """No figure of a network's size or cost is claimed under that name."""
    ran = dimbench("audit", "FORA", "--to", tmp_path / "page.html")
    assert (ran.code, ran.stdout.splitlines()[0]) == (0, "What methods save")
    assert "fora:every=3" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("name", ["latency-resolution", "throughput-batch"])
def test_without_records_a_plot_says_which_command_makes_them(name: str, tmp_path: Path) -> None:
    said = refused(1, "plot", name, "--records", written(tmp_path), "--out", tmp_path / "plot.png")
    assert "dimbench bench" in said
    assert not (tmp_path / "plot.png").exists()


@pytest.mark.parametrize(
    ("code", "words", "sentence"),
    [
        (2, ["table", "dit-44"], "unknown table 'dit-44'; did you mean dit-4"),
        (2, ["table", "xyz"], "see `dimbench table`"),
        (1, ["table", "dit-4", "--records", "absent.jsonl"], "absent.jsonl"),
        (2, ["audit", "gan-*"], "no claim matches 'gan-*'"),
        (2, ["audit", "--json", "--markdown"], "--json and --markdown"),
        (2, ["audit", "--tools", "--to", "page.html"], "--to and --records are for claims"),
        (2, ["audit", "dit-s8", "--to", "net.py"], "--to net.py is no page; give a name that ends in .html"),
        (1, ["audit", "dit-s8", "--html", "/dev/null/audit.html"], "give another file with --to"),
        (2, ["plot", "gflop-fid"], "did you mean gflops-fid"),
        (2, ["plot", "pareto", "--out", "pareto.bmp"], "none of .png, .svg, .pdf"),
        (2, ["plot", "pareto", "--out", "pareto"], "none of .png, .svg, .pdf"),
        (1, ["plot", "pareto", "--out", "/dev/null/pareto.png"], "give another file with --to"),
        (2, ["plot", "pareto", "dit-xl3"], "unknown model 'dit-xl3'"),
        (2, ["plot", "frontier", "mine.jsonl"], "give --records mine.jsonl"),
        (1, ["plot", "pareto", "dimsum-l2", "--out", "x.png"], "not published"),
        (1, ["plot", "gflops-fid", "dit-digits", "--out", "x.png"], "no FID at 256 pixels is published"),
    ],
)
def test_bad_input_is_one_sentence(
    code: int, words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused(code, *words)
    assert sentence in said
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("*.png"))


def test_an_unknown_format_is_refused() -> None:
    assert re.search("rich.*csv.*markdown.*latex.*html.*json", refused(2, "table", "dit-4", "--format", "word"), re.S)


def test_audit_sets_savings_beside_what_a_run_executes() -> None:
    shown = json.loads(dimbench("audit", "dit-xl2", "--json").stdout)
    (saving,) = (entry for entry in shown if entry.get("method") == "TaylorSeer")
    assert (saving["kind"], saving["methods"], saving["base"]) == ("saving", ["taylor:every=4,order=4"], "dit-xl2")
    assert saving["printed_share"] == pytest.approx(1 / 3.57)
    assert 0.26 < saving["executed_share"] < 0.28
    text = dimbench("audit", "dit-xl2").stdout
    assert "What methods save" in text
    assert "not measured" in text

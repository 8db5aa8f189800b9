"""The pages say what is so: links lead somewhere, commands are understood, keys exist, examples run."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml  # type: ignore[import-untyped]  # its stubs are one more package

from sweep import DISTRIBUTION, __version__, backends
from sweep.__main__ import VERBS, run
from sweep.config import schema
from sweep.config.command_line import main_argv
from sweep.config.compose import find_conf_dir
from sweep.spec import FailureKind, Json, Status, UserError
from sweep.spec.settings import Effort, Gates, Limits, Objective
from sweep.store import ledger
from sweep.verbs import app
from sweep.workloads import FORMATS, RESERVED
from tests.support.running import QUICK, ROOT

DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*sorted(ROOT.glob("*.md")), *DOCS]
REFERENCE = ROOT / "docs" / "reference"
ADDING_A_MODEL = ROOT / "docs" / "contributing" / "adding_a_model.md"
DECISIONS = ROOT / "docs" / "decisions"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"python -m sweep(?![\w.])([^`\n]*)")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
FILE = re.compile(r"(?:#|//) ([\w./-]+\.(?:py|yaml|toml))\n")
# Sizes that a loaded machine can keep to: what is tested is that the examples run, not how fast.
FEW = ["data.count=8"]  # the original answers all data that lists are looked for, before the plan is shown
TRY = [*QUICK, "effort.repeats=1", "gates.little_tolerance=1.0"]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8").replace("\\\n", " ")


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every `python -m sweep ...` of the pages as (page: line, words)."""
    seen = set()
    for page in PAGES:
        for match in COMMAND.finditer(text_of(page)):
            line = match[1].split("  #")[0].strip()
            if line and line not in seen:
                seen.add(line)
                yield f"{name_of(page)}: {line}", shlex.split(line, comments=True)


def is_sweep(words: list[str]) -> bool:
    return words[0].startswith("-") or "=" in words[0]


ALL = [(name, words) for name, words in commands() if words]
# Lists are chosen for the data's sizes, so a plan with `buckets=auto` loads them, in a worker.
LOADS = {True: [pytest.mark.process], False: []}
SWEEPS = [pytest.param(words, id=name, marks=LOADS["buckets=auto" in words]) for name, words in ALL if is_sweep(words)]
OTHERS = [pytest.param(words, id=name) for name, words in ALL if not is_sweep(words)]


def examples() -> dict[str, str]:
    """Files shown in the pages, by the name in their first line."""
    found: dict[str, str] = {}
    for page in DOCS:
        for _, body in BLOCK.findall(page.read_text(encoding="utf-8")):
            named = FILE.match(body)
            if named:
                assert named[1] not in found, f"{named[1]} is shown twice"
                found[named[1]] = body[named.end() :]
    return found


def slug(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file that the pages show, and the example backend registered as an installation does it."""
    folder = tmp_path_factory.mktemp("docs")
    for name, body in examples().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body, encoding="utf-8")
    entry = re.search(
        r"^\[project\.entry-points\.\"sweep\.backends\"\]\n(.+)$", examples()["pyproject.toml"], re.MULTILINE
    )
    assert entry is not None
    installed = folder / "my_backend-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: my-backend\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[sweep.backends]\n" + entry[1].replace('"', "") + "\n")
    return folder


@pytest.fixture
def inside(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """In the folder of the examples, importable as with `python -m`."""
    monkeypatch.chdir(workspace)
    monkeypatch.syspath_prepend(str(workspace))
    importlib.invalidate_caches()
    caches = (backends._table, backends.get)
    for cache in caches:
        cache.cache_clear()
    yield workspace
    for cache in caches:
        cache.cache_clear()


def sweep_in(folder: Path, outputs: Path, *words: str) -> tuple[str, ledger.History]:
    """Run a sweep as a person does, in another process; what it printed and its ledger."""
    done = subprocess.run(
        [sys.executable, "-m", "sweep", *words, f"outputs={outputs}"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, ledger.History(ledger.find(outputs, "last"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_and_anchors_lead_somewhere(page: Path) -> None:
    for groups in LINK.findall(page.read_text(encoding="utf-8")):
        target = groups[0] or groups[1]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        where = (page.parent / path).resolve() if path else page
        assert where.exists(), f"{name_of(page)} links to {target}"
        if anchor:
            text = BLOCK.sub("", where.read_text(encoding="utf-8"))
            headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            assert anchor in map(slug, headings), f"{name_of(page)} links to {target}"


def test_every_page_can_be_reached_from_another() -> None:
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for groups in LINK.findall(page.read_text(encoding="utf-8"))
        for target in groups
    }
    assert [name_of(page) for page in DOCS if page.resolve() not in linked] == []


@pytest.mark.sweep
@pytest.mark.parametrize("words", SWEEPS)
def test_every_sweep_that_is_shown_can_be_planned(
    words: list[str], inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if main_argv(words)[0] == "--multirun":
        words = [*words, *(FEW if "buckets=auto" in words else []), "plan=only", f"outputs={tmp_path}"]
    try:
        status = run(words)
    except SystemExit as end:  # Hydra's own flags
        status = int(end.code or 0)
    assert status == 0, capfd.readouterr().err


@pytest.mark.parametrize("words", OTHERS)
def test_every_verb_that_is_shown_exists_and_takes_these_arguments(words: list[str]) -> None:
    assert words[0] in VERBS
    command: Any = typer.main.get_command(app.app)
    rest = list(words)
    while rest and hasattr(command, "get_command"):
        context = command.make_context(command.name, [rest[0], *rest[1:]])
        name, rest = rest[0], rest[1:]
        command = command.get_command(context, name)
        assert command is not None, name
    if hasattr(command, "get_command"):  # `builds` alone
        return
    asked = command.make_context(
        words[0], list(rest)
    )  # raises for an option or a number of words that it does not take
    assert asked.info_name == words[0]


def test_config_files_that_are_shown_hold_keys_that_exist(inside: Path, tmp_path: Path) -> None:
    shown = {Path(name): yaml.safe_load(body) for name, body in examples().items() if name.endswith(".yaml")}
    assert len(shown) >= 5
    for path, content in shown.items():
        group = path.parts[1]
        if group == "experiment":
            assert (
                run([f"--config-dir={path.parts[0]}", f"experiment={path.stem}", "plan=only", f"outputs={tmp_path}"])
                == 0
            )
            continue
        known = set(yaml.safe_load((find_conf_dir() / group / f"{SAMPLE[group]}.yaml").read_text()))
        if group in ("model", "data"):  # the other keys are the factory's arguments
            known |= set(RESERVED) | set(arguments_of(content["_target_"]))
        assert set(content) <= known, path
        assert content["name"] == path.stem
        schema.check(group, content)


SAMPLE = {"hardware": "local", "backend": "onnxruntime", "model": "custom", "data": "custom"}


def arguments_of(target: str) -> list[str]:
    """Parameters of a factory, read without running its module: torch need not be imported for that."""
    import ast

    module, _, name = target.rpartition(".")
    source = Path(*module.split(".")).with_suffix(".py")
    tree = ast.parse((source if source.exists() else ROOT / source).read_text())
    (found,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    return [argument.arg for argument in found.args.args]


def test_settings_that_are_named_exist() -> None:
    of = {"effort": Effort, "objective": Objective, "limits": Limits, "gates": Gates}
    known = {section: {field.name for field in fields(kind)} for section, kind in of.items()}
    known["search"] = set(yaml.safe_load((find_conf_dir() / "config.yaml").read_text())["search"])
    known["tracking"] = {"uri", "name"}
    named = [
        (name_of(page), match[1], match[2])
        for page in PAGES
        for match in re.finditer(
            r"(?<![\w./-])(effort|objective|limits|gates|search|tracking)\.([a-z]\w*)", text_of(page)
        )
        if match[2] not in ("py", "db", "json")
    ]
    assert len(named) > 20
    assert [one for one in named if one[2] not in known[one[1]]] == []


def test_the_pages_name_every_status_kind_and_format() -> None:
    statuses = (REFERENCE / "statuses.md").read_text(encoding="utf-8")
    assert [status.value for status in Status if f"| `{status.value}` |" not in statuses] == []
    assert [kind.value for kind in FailureKind if f"| `{kind.value}` |" not in statuses] == []
    models = ADDING_A_MODEL.read_text(encoding="utf-8")
    assert [name for name in FORMATS if f"| `{name}` |" not in models] == []


def test_the_table_of_formats_says_which_backends_take_them() -> None:
    models = ADDING_A_MODEL.read_text(encoding="utf-8")
    for name in FORMATS:
        (row,) = re.findall(rf"^\| `{name}` \|.*\|(.*)\|$", models, re.MULTILINE)
        told = {word.strip() for word in row.split(",")}
        takers = {backend for backend in backends.BUILT_IN if name in backends.get(backend).formats}
        assert told == takers, name


def test_the_gates_are_told_in_their_order() -> None:
    from sweep.verdict import gates

    method = (REFERENCE / "method.md").read_text(encoding="utf-8")
    section = method.partition("## Gates")[2].partition("\n## ")[0]
    assert re.findall(r"^\| (\w+) \|", section, re.MULTILINE)[1:] == [gate.__name__ for gate in gates.GATES]


@pytest.mark.process
def test_the_example_backend_builds_and_measures(workspace: Path, tmp_path: Path) -> None:
    axis = "backend.options.order=C,F"
    printed, history = sweep_in(
        workspace, tmp_path, "--config-dir", "conf", "model=tiny", "backend=blas", axis, "batch=8", *TRY
    )
    assert [record.status for record in history.records.values()] == [Status.OK, Status.OK], printed
    assert {record.settings["order"] for record in history.records.values()} == {"C", "F"}
    keys = {build["key"] for record in history.records.values() for build in record.builds}
    assert len(keys) == 2, "the option is one of the compiler's"
    assert all(record.metrics and record.metrics["agreement"] == 1.0 for record in history.records.values())


@pytest.mark.process
def test_example_backend_keeps_the_contract(workspace: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_backend.py"],
        cwd=workspace,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 passed" in done.stdout


def test_the_example_backend_refuses_what_it_cannot_do(inside: Path) -> None:
    from sweep.spec import BuildSpec

    blas = backends.get("blas")
    with pytest.raises(UserError, match=r"backend\.options\.order must be one of C, F, not 'X'"):
        schema.check("backend", {"name": "blas", "options": {"order": "X"}})
    assert "no int8" in str(blas.supports(BuildSpec({"format": "numpy"}, {}, "blas", {}, "int8", 1)))


@pytest.mark.process
def test_the_example_model_and_hardware_give_an_accuracy_and_a_cost(workspace: Path, tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("the example hardware has two CPUs")
    words = ["model=centres", "backend=fake", "hardware=edge_box", "batch=1,16", "objective=min_cost", "report=html"]
    enough = ["effort.window_seconds=0.5", "effort.min_requests=100"]  # answers, to tell an accuracy from a few of them
    printed, history = sweep_in(workspace, tmp_path, "--config-dir", "conf", *TRY, *enough, *words)
    assert len(history.records) == 2
    for record in history.records.values():
        assert record.status is Status.OK, printed
        metrics = dict(record.metrics or {})
        assert metrics["accuracy"] > 0.9, "the classes of the example are well apart"
        expected = 0.05 / 3600 / metrics["throughput_items_per_s"] * 1e6
        assert metrics["usd_per_million_items"] == pytest.approx(expected)
    as_told(history, tmp_path)


def as_told(history: ledger.History, outputs: Path) -> None:
    """What a sweep leaves is what the reference says."""
    page = (REFERENCE / "outputs.md").read_text(encoding="utf-8")
    metrics = (REFERENCE / "mlflow.md").read_text(encoding="utf-8")
    tree = page.partition("## Where files lie")[2].partition("```text")[2].partition("```")[0]
    left = [path for path in history.folder.iterdir() if path.name not in tree]
    left += [path for path in (outputs / "store").iterdir() if path.name not in tree]
    left += [path for path in (history.folder / "trials").glob("*/*") if path.name not in tree]
    left += [path for path in (history.folder / "repeats").glob("*/*") if path.name not in tree]
    assert left == []
    for name in re.findall(r"[\w.]+\.(?:jsonl?|csv|png)\b", tree.partition("sweeps/")[2].partition("trials/KEY")[0]):
        assert (history.folder / name).is_file(), name
    kinds = {entry["kind"] for entry in ledger.entries(history.folder)}
    told = set(re.findall(r"`(\w+)`", page.partition("## The ledger")[2].partition("Tables, verdicts")[0]))
    assert kinds <= told
    row: Json = json.loads((history.folder / "results.json").read_text())[0]
    for metric in row["metrics"]:
        base = re.sub(r"_(low|high)$", "", metric)
        assert any(f"`{name}`" in metrics for name in (metric, base, "_" + base.rpartition("_")[2])), metric


@pytest.mark.process
def test_the_module_of_the_quick_start_runs(workspace: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "make_data.py"], cwd=workspace, check=True, timeout=60)
    words = ["name=mine", "model=custom", "model._target_=my_model.make", "+model.width=64", "data=npz"]
    words += ["data.path=my_data.npz", "backend=torch", "batch=32"]
    printed, history = sweep_in(workspace, tmp_path, *words, *TRY)
    (record,) = history.records.values()
    assert record.status is Status.OK, printed
    assert str(record.settings["width"]) == "64"
    assert (record.agreement or {})["samples"] > 0


def test_every_setting_stands_in_the_reference_with_its_default() -> None:
    """The page repeats what the YAML files say, for readers; it may say nothing else."""
    rows = [line.split(" | ") for line in (REFERENCE / "config.md").read_text(encoding="utf-8").splitlines()]
    shown = {row[0].strip("| `"): [cell.strip() for cell in row[1:-1]] for row in rows if row[0].startswith("| `")}
    config = yaml.safe_load((find_conf_dir() / "config.yaml").read_text())
    sections = ("process", "limits", "gates", "bucketing", "fleet", "search")
    once = ("precision", "batch", "request_batch", "cores", "replicas", "buckets", "name", "outputs", "plan", "report")
    defaults = {name: [config[name]] for name in (*once, "reuse", "retry_failed", "seed")}
    defaults |= {f"{section}.{name}": [value] for section in sections for name, value in config[section].items()}
    efforts = [group("effort", name) for name in ("quick", "normal", "thorough", "until_decided")]
    defaults |= {f"effort.{name}": [effort[name] for effort in efforts] for name in efforts[0] if name != "name"}
    objective = group("objective", "max_throughput")
    defaults |= {f"objective.{name}": [value] for name, value in objective.items() if name != "name"}
    assert shown == {name: [as_cell(value) for value in values] for name, values in defaults.items()}


def group(folder: str, name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((find_conf_dir() / folder / f"{name}.yaml").read_text()))


def as_cell(value: Any) -> str:
    """A default as the reference writes it."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {as_cell(item)}" for name, item in value.items())
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def test_decisions_have_a_number_a_date_and_a_status_and_stand_in_the_index() -> None:
    index = (DECISIONS / "README.md").read_text(encoding="utf-8")
    files = sorted(path for path in DECISIONS.glob("*.md") if path.name != "README.md")
    assert [int(path.name[:4]) for path in files] == list(range(1, len(files) + 1))
    for path in files:
        head = re.match(
            r"# (\d+)\. (.+)\n\n(\d{4}-\d\d-\d\d) · (accepted|superseded by \d{4}) · ", path.read_text(encoding="utf-8")
        )
        assert head is not None, path.name
        assert int(head[1]) == int(path.name[:4]), path.name
        assert f"| {head[1]} | [{head[2]}]({path.name}) | {head[3]} | {head[4]} |" in index, path.name


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent != DECISIONS], ids=name_of)
def test_paths_that_a_page_names_exist(page: Path) -> None:
    """Decisions name what was there at their time; all other pages what is there now."""
    paths = set(re.findall(r"`((?:sweep|conf|hydra_plugins|tests|docs)/[^`\s]*)`", page.read_text(encoding="utf-8")))
    patterns = [re.sub(r"<\w+>|NAME|GROUP", "*", path) for path in paths]
    assert [path for path in sorted(patterns) if not list(ROOT.glob(path))] == []


def test_the_architecture_page_has_the_table_of_imports_that_is_tested() -> None:
    from tests.house.test_layers import ALLOWED

    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("| package | what it is for | may import |")[2].partition("\n\n")[0]
    above: list[str] = []
    for name, cell in re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", table, re.MULTILINE):
        imports = above if cell == "all above" else [] if cell == "nothing" else cell.split()
        assert set(imports) == set(ALLOWED[name].split()), name
        above = [*above, name]
    assert set(above) == {name for name in ALLOWED if name != "hydra_plugins" and not name.startswith("__")}


def test_installing_names_our_distribution() -> None:
    """`sweep` on the package index is somebody else's."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nname = "{DISTRIBUTION}"\nversion = "{__version__}"\n' in project
    assert f'\ntest = [\n    "{DISTRIBUTION}[' in project
    stranger = re.compile(r"""pip install ['"]?sweep\b|['"]sweep\[|^dependencies = \[.*"sweep\"""", re.MULTILINE)
    folders = (ROOT / "sweep", ROOT / "conf", ROOT / "docs")
    kinds = (".py", ".yaml", ".md", ".js")
    paths = [path for folder in folders for path in folder.rglob("*.*") if path.suffix in kinds]
    paths = [path for path in [*PAGES, ROOT / "pyproject.toml", *paths] if path.parent != DECISIONS]
    assert [name_of(path) for path in paths if stranger.search(path.read_text(encoding="utf-8"))] == []
    assert any(f"'{DISTRIBUTION}[" in path.read_text(encoding="utf-8") for path in paths), "nothing was looked at"


@pytest.mark.process
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed: pip install -e '.[docs]'")
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "architecture" / "index.html").is_file()
    assert (tmp_path / "reference" / "safety" / "index.html").is_file()

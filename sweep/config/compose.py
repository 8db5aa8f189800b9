"""From overrides to trials, fast.

Composing through Hydra costs tens of milliseconds, so it is done once per distinct choice of config groups. Every other
override is applied to plain dictionaries, section by section (`model`, `batch`, ...), and each section is made once per
distinct text of the overrides that touch it: ten thousand trials share a few hundred section values.
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sweep import backends
from sweep.config import buckets as bucket_config
from sweep.config import naming, schema
from sweep.config import overrides as trees
from sweep.config.overrides import put
from sweep.config.structure import check_value
from sweep.hardware import rules
from sweep.spec import Json, Trial, UserError, deployment, meant, no_key, to_json
from sweep.spec.settings import Objective, Settings
from sweep.workloads import handling

if TYPE_CHECKING:
    from sweep.config.hydra_api import ConfigLoader, Override

GROUPS = ("model", "data", "hardware", "backend", "load", "effort", "objective", "tracking", "experiment")
REMARKS = 4  # of a kind, that are printed
OF_OBJECTIVE = ("name", "metric", "maximize")  # what the choice of an objective changes, with the limits that it sets
LIMITS = ("_max", "_min", "_ms")  # ends of the names of these limits


@dataclass
class _Base:
    """What Hydra composed for one choice of config groups: plain values, interpolations not yet resolved."""

    tree: Json
    needs: Mapping[str, frozenset[str]]  # section -> sections that its interpolations look at
    values: dict[tuple[str, tuple[str, ...]], Any] = field(default_factory=dict)  # checked sections


class Composer:
    """Turns lists of overrides into trials and settings. Remembers what it composed, so keep one for all of a sweep."""

    def __init__(
        self, loader: "ConfigLoader", hydra_overrides: Sequence[str] = (), config_name: str = "config"
    ) -> None:
        self.loader = loader
        self.config_name = config_name
        self.hydra_overrides = list(hydra_overrides)
        self._items: dict[str, trees.Item] = {}
        self._options: dict[str, list[str]] = {}
        self._bases: dict[tuple[str, ...], _Base] = {}
        self._default_data: dict[tuple[str, ...], str] = {}
        self._cast: dict[str, None] = {}  # what `precision=auto` became where it is not fp32, a line each
        self._reordered: dict[str, str] = {}  # list of buckets as it was written -> as it is taken

    def parse(self, line: str) -> "Override":
        """One override as Hydra reads it.

        Raises:
            UserError: if it cannot be read.
        """
        from sweep.config import hydra_api

        with translate_errors():
            return hydra_api.parse([line])[0]

    def options(self, group: str) -> list[str]:
        """The choices of a config group in every folder of the search path; empty if it is not a group."""
        if group not in self._options:
            from sweep.config import hydra_api

            with translate_errors():
                self._options[group] = hydra_api.choices(self.loader, group, self.config_name, self.hydra_overrides)
        return self._options[group]

    def trials(self, job_overrides: Sequence[Sequence[str]]) -> list[Trial]:
        """The trial of every list of overrides, in order.

        Raises:
            UserError: for the first wrong key, type or value.
        """
        return naming.tell_models_apart([self.trial(overrides) for overrides in job_overrides])

    def trial(self, overrides: Sequence[str]) -> Trial:
        """The trial that one list of overrides declares."""
        base, items = self._split(overrides)
        group = self._section(base, items, "deployment")
        if group["member"] is None:
            return self._make_single(overrides)
        rest = deployment.drop_member(overrides)
        together, devices = [], []
        for member in group["members"]:
            own = [f"{key}={trees.format_value(value)}" for key, value in member.items() if key != deployment.DEVICE]
            together.append(self._make_single([*rest, *own]))
            devices.append(_check_device(member.get(deployment.DEVICE), together[-1]))
        return deployment.make_member(together, group["member"], overrides, devices)

    def _make_single(self, overrides: Sequence[str]) -> Trial:
        base, items = self._split(overrides)
        part: dict[str, Any] = {name: self._section(base, items, name) for name in schema.AXES}
        if part["replicas"] == "auto":
            part["replicas"] = rules.count_replicas(part["hardware"], part["backend"]["device"], part["cores"])
        if part["precision"] == "auto":
            part["precision"] = self._choose_precision(part["hardware"], part["backend"])
        for key in handling.KEYS:  # of a model that is called as it is nothing is noted: its results stay its own
            if part["model"].get(key) is None:
                part["model"].pop(key, None)
        part["buckets"] = bucket_config.fit_to_model(part["buckets"], part["model"])
        return naming.name_model(Trial(**part, overrides=tuple(overrides)))

    def _choose_precision(self, hardware: Json, backend: Json) -> str:
        """What `precision=auto` stands for; the trial holds the answer, so that it is the trial of that precision."""
        name = str(backend["name"])
        chosen = rules.choose_precision(hardware, str(backend["device"]), backends.get(name).precisions)
        if chosen != "fp32":
            self._cast[f"{name} has no fp32 on {hardware['name']}, so precision=auto is {chosen}"] = None
        return chosen

    def settings(self, job_overrides: Sequence[Sequence[str]]) -> Settings:
        """The settings that all of a sweep's trials share.

        Raises:
            UserError: if two of the lists ask for different settings.
        """
        seen: dict[tuple[int, tuple[str, ...]], tuple[_Base, list[trees.Item]]] = {}
        models: dict[str, None] = {}
        for overrides in job_overrides or [[]]:
            base, items = self._split(overrides)
            once = tuple(item.line for item in items if item.section in schema.ONCE)
            seen.setdefault((id(base), once), (base, items))
            models[self._section(base, items, "model")["name"]] = None
        sections, *others = (
            {name: self._section(base, items, name) for name in schema.ONCE} for base, items in seen.values()
        )
        for other in others:
            for name, value in other.items():
                if value != sections[name]:
                    raise UserError(f"{name} is set once a sweep, and these trials ask for two; start a sweep for each")
        schema.check_direction(sections["objective"])
        name = sections["name"] or (next(iter(models)) if len(models) == 1 else "several_models")
        return Settings(**{**sections, "name": name})

    def config(self, overrides: Sequence[str] = (), sections: Sequence[str] = schema.KNOWN) -> Json:
        """Resolved and checked sections of one config, for what is neither a trial nor settings, like `search`."""
        base, items = self._split(overrides)
        return {name: self._section(base, items, name) for name in sections}

    def remarks(self) -> list[str]:
        """Lines about settings that were taken in another way than written; a second call has only new ones."""
        texts = [f"{written} as {taken}" for written, taken in self._reordered.items()]
        casts = list(self._cast)
        self._reordered.clear()
        self._cast.clear()
        more = f" and {len(texts) - REMARKS} more" if len(texts) > REMARKS else ""
        sorting = [f"buckets are taken sorted, each once: {', '.join(texts[:REMARKS])}{more}"] if texts else []
        return [*sorting, *casts]

    def remember(self, groups: Sequence[str], master: Any) -> None:
        """Take the data set that a model names from a config that Hydra has composed anyway."""
        data = master.get("model", {}).get("data")
        if master.get("data") is None and isinstance(data, str):
            self._default_data[self._model_lines(groups)] = data

    def item(self, line: str) -> trees.Item:
        """Take an override apart and check it as far as its own text allows. Remembered by its text."""
        if line not in self._items:
            self._items[line] = self._read(self.parse(line))
        return self._items[line]

    def _read(self, override: "Override") -> trees.Item:
        key, line = override.key_or_group, override.input_line or ""
        path = tuple(re.sub(r"\[([^\]]*)\]", r".\1", key).split("."))
        group = override.package is not None or key in GROUPS or ("." not in key and bool(self.options(key)))
        section = key.partition("/")[0] if group else path[0]
        if section not in schema.KNOWN and not group and section != "hydra":
            raise no_key(key if len(path) == 1 else path[0], schema.KNOWN)
        if path == ("model", "data"):
            raise UserError("model.data names the default data set in the model's YAML: say data=... to choose one")
        if group and isinstance(override.value(), dict):
            raise UserError(
                f"{key} is chosen by name ({', '.join(self.options(key))}); to set a part of it say {key}.part=value"
            )
        return trees.Item(line, key, section, path, override.value(), _mode(override), group)

    def _split(self, overrides: Sequence[str]) -> tuple[_Base, list[trees.Item]]:
        items = [self.item(line) for line in overrides]
        base = self._base(tuple(item.line for item in items if item.group))
        return base, [item for item in items if not item.group]

    def _base(self, groups: tuple[str, ...]) -> _Base:
        if groups not in self._bases:
            self._bases[groups] = self._compose(groups)
        return self._bases[groups]

    def _compose(self, groups: tuple[str, ...]) -> _Base:
        """Compose with Hydra; a second time if only then is known which data set the model names."""
        model = self._model_lines(groups)
        named = any(self.item(line).key == "data" for line in groups)
        known = None if named else self._default_data.get(model)
        tree, choices = self._hydra(groups if known is None else (*groups, f"data={known}"))
        if tree.get("data") is None and not named:
            name = (tree.get("model") or {}).get("data")
            if not name:
                here = meant("", self.options("data"))
                raise UserError(f"model '{choices.get('model')}' names no data set: say data=... ({here})")
            self._default_data[model] = str(name)
            tree, choices = self._hydra((*groups, f"data={name}"))
        for key in tree:
            if key not in schema.KNOWN:
                where = f" (in experiment '{choices['experiment']}')" if choices.get("experiment") else ""
                raise UserError(f"{no_key(key, schema.KNOWN)}{where}")
            if isinstance(tree[key], dict) and choices.get(key):  # the file's name, where it gives none
                tree[key] = {"name": str(choices[key]).rpartition("/")[2], **tree[key]}
        return _Base(tree, trees.find_needs(tree))

    def _model_lines(self, groups: Sequence[str]) -> tuple[str, ...]:
        return tuple(line for line in groups if self.item(line).key in ("model", "experiment"))

    def _hydra(self, groups: Sequence[str]) -> tuple[Json, Mapping[str, Any]]:
        from omegaconf import OmegaConf

        from sweep.config import hydra_api

        lines = [*self.hydra_overrides, *(re.sub(r"^\++experiment=", "experiment=", line) for line in groups)]
        with translate_errors():
            config = hydra_api.compose(self.loader, self.config_name, lines)
        choices = {str(key): value for key, value in config.hydra.runtime.choices.items()}
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        tree = OmegaConf.to_container(config, resolve=False)
        assert isinstance(tree, dict)
        return {str(key): value for key, value in tree.items()}, choices

    def _section(self, base: _Base, items: Sequence[trees.Item], name: str) -> Any:
        """The checked value of a section, computed once for equal overrides of what it depends on."""
        needs = base.needs.get(name, frozenset((name,)))
        relevant = [item for item in items if item.section in needs]
        if any("${" in item.line for item in items):
            relevant = list(items)  # an interpolation typed by hand may look anywhere
        key = (name, tuple(item.line for item in relevant))
        if key not in base.values:
            base.values[key] = self._make(base, relevant, name)
        return base.values[key]

    def _make(self, base: _Base, items: Sequence[trees.Item], name: str) -> Any:
        tree = base.tree
        for item in items:
            tree = trees.put(tree, item)
        value = tree.get(name)
        if name not in tree and name not in ("experiment", "data", "name"):
            raise UserError(f"no value for '{name}'")
        if any(isinstance(leaf, str) and "${" in leaf for _, leaf in schema.leaves(value)):
            value = trees.resolve(tree, name)
        written, value = value, schema.check(name, value)
        if name == "buckets" and bucket_config.was_rewritten(written, value):
            rows = [row[0] if len(row) == 1 else list(row) for row in value]
            self._reordered[trees.format_value(written)] = trees.format_value(rows)
        return rules.fill(value) if name == "hardware" else value


def _check_device(number: Any, trial: Trial) -> int | None:
    """The GPU that a member of a deployment declares for its first copy; None if it declares none."""
    if number is None:
        return None
    if trial.backend.get("device") != deployment.GPU:
        name = trial.backend["name"]
        raise UserError(f"a member's device is a GPU, and {name} is given cores in the order of loading: leave it out")
    return int(check_value("deployment.members: device", number, int))


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turns Hydra's and OmegaConf's errors into one line with the fix in it."""
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]  # its stubs are one more package

    try:
        yield
    except MissingConfigException as error:
        group, _, choice = str(error.missing_cfg_file or "").rpartition("/")
        if error.options is None or not group:
            raise UserError(_line(error)) from error
        raise UserError(f"no {group} '{choice}': {meant(choice, error.options)}") from error
    except OverrideParseException as error:
        hint = naming.hint_quotes(str(error.override))
        raise UserError(f"cannot read '{error.override}': {_line(error).partition(' See https')[0]}{hint}") from error
    except (HydraException, OmegaConfBaseException) as error:
        cause = f": {_line(error.__cause__)}" if isinstance(error.__cause__, OmegaConfBaseException) else ""
        raise UserError(_line(error) + cause) from error
    except YAMLError as error:
        raise UserError(f"a config file is not YAML: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@functools.lru_cache(maxsize=4)
def shared_composer(loader: "ConfigLoader", hydra_overrides: tuple[str, ...], config_name: str) -> Composer:
    """One composer for each command line, however many parts of the program ask for it."""
    return Composer(loader, hydra_overrides, config_name)


def find_composer(loader: "ConfigLoader", master: Any) -> Composer:
    """The composer that a sweeper and a launcher share; `master` is the config that Hydra gave to `setup`."""
    return shared_composer(loader, tuple(master.hydra.overrides.hydra), str(master.hydra.job.config_name))


def _mode(override: "Override") -> str:
    """What an override does, by Hydra's sign before the key."""
    if override.is_delete():  # ~key
        return "delete"
    if override.is_force_add():  # ++key
        return "force"
    return "add" if override.is_add() else "change"  # +key, key


T = TypeVar("T")


def find_conf_dir() -> Path:
    """The folder of the configs that come with sweep: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def make_loader(config_dir: str | None = None, main_dir: str | None = None) -> "ConfigLoader":
    """Hydra's loader over our configs and, in front of nothing but the schema, one more folder of the user's.

    Raises:
        UserError: if the folder does not exist.
    """
    from sweep.config import hydra_api

    extra = None if config_dir is None else Path(config_dir).expanduser().absolute()
    if extra is not None and not extra.is_dir():
        raise UserError(f"--config-dir {config_dir}: there is no such folder")
    return hydra_api.config_loader(Path(main_dir).absolute() if main_dir else find_conf_dir(), extra)


def load_settings(overrides: Sequence[str] = ()) -> Settings:
    """The settings that these overrides ask for, for verbs that run no trial (`best objective=min_latency`)."""
    return Composer(make_loader()).settings([list(overrides)])


def change_section(section: str, stored: T, changes: Sequence[str]) -> T:
    """A stored section, like `objective` or `fleet`, with overrides of it such as `fleet.items_per_s=1000`.

    A group like `objective=min_cost` changes what is best, and the limits that it sets; all others stay.
    """
    if not changes:
        return stored
    composer = Composer(make_loader())
    items = [composer.item(line) for line in changes]
    for item in items:
        if item.section != section:
            raise UserError(
                f"'{item.line}' is not about the {section}: say {section}.KEY=..., or {section}=... for a group"
            )
    tree: Json = {section: to_json(stored)}
    groups = [item.line for item in items if item.group]
    if groups:
        group = to_json(composer.config(groups, (section,))[section])
        limits = {name: value for name, value in group.items() if name.endswith(LIMITS) and value}
        tree[section] |= limits | {name: group[name] for name in OF_OBJECTIVE if name in group}
    for item in items:
        tree = tree if item.group else put(tree, item)
    value: T = schema.check(section, tree[section])
    if isinstance(value, Objective):
        schema.check_direction(value)
    return value


def load_hardware_types() -> list[Json]:
    """The declared hardware types that come with sweep, `local` among them, not filled with what is detected."""
    from omegaconf import OmegaConf

    files = sorted((find_conf_dir() / "hardware").glob("*.yaml"))
    plain = [OmegaConf.to_container(OmegaConf.load(path), resolve=True) for path in files]
    return [schema.check("hardware", value) for value in plain]

"""Stored answers of an original model that are still its answers, or the mark that they are not.

Two models can have one identity and answer otherwise, where something decides that no hash can see. So a model is asked
the same few samples at every sweep. What answers alike is one variant of the identity, with references and builds of
its own; what does not is another. Worker side, Python 3.8.
"""

from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Tuple

from sweep import files
from sweep.backends.base import Arrays
from sweep.spec import Json, digest, from_json
from sweep.spec.facts import NatureFacts
from sweep.worker import nature

MODEL = "model.json"  # in the folder of a reference: what it is of
ANSWERS = "asked.npz"  # likewise: answers to the samples of `nature.choose_samples`


class Variant(NamedTuple):
    """One of the models of an identity."""

    number: int
    changed: bool  # there are others, which answer otherwise

    def key(self, identity: str) -> str:
        """The identity of this variant; that of the first is the identity itself."""
        return digest([identity, self.number]) if self.number else identity


FIRST = Variant(0, False)


def find(root: Path, of: Json, answers: Arrays) -> Variant:
    """The variant that a model is, by its answers to the samples.

    Args:
        root: with the folders of all references.
        of: what identifies model and data without asking.
    """
    known: Dict[int, List[Path]] = {}
    for path in sorted(root.glob("[!.]*/" + MODEL)):  # without drafts
        stored = files.read_json(path)
        if stored.get("of") == of:
            known.setdefault(int(stored["variant"]), []).append(path.parent)
    for number in sorted(known):
        if any(answers_alike(folder, answers) for folder in known[number]):
            return Variant(number, False)
    return Variant(max(known) + 1, True) if known else FIRST


def obtain(
    root: Path, of: Json, answers: Arrays, obtain_reference: Callable[[Variant], Tuple[str, Json]]
) -> Tuple[Variant, str, Json]:
    """The variant that a model is, and the key and the facts of its reference.

    Args:
        answers: () if nothing can hide from the identity of the model.
        obtain_reference: of a variant; another sweep may have stored that of another model meanwhile.
    """
    while True:
        variant = find(root, of, answers) if answers else FIRST
        key, facts = obtain_reference(variant)
        if not answers or answers_alike(root / key, answers):
            return variant, key, facts


def claim(draft: Path, of: Json, variant: Variant, answers: Arrays) -> None:
    """Note in the draft of a reference what it is of; what another model has begun there is thrown away."""
    if not answers:
        return
    if (draft / ANSWERS).is_file() and not answers_alike(draft, answers):
        for path in draft.iterdir():
            files.remove(path)
    files.save_arrays(draft / ANSWERS, {"output_%d" % number: array for number, array in enumerate(answers)})
    files.write_json(draft / MODEL, {"of": of, "variant": variant.number})


def answers_alike(folder: Path, answers: Arrays) -> bool:
    """Whether these are the answers of a stored reference. If its model never repeats itself, nothing can be said."""
    facts = files.read_json(folder / nature.FACTS)
    if facts and from_json(NatureFacts, facts).repeat_difference != 0.0:
        return True
    stored = files.load_arrays(folder / ANSWERS)
    expected = [stored["output_%d" % number] for number in range(len(stored))]
    return nature.compare(expected, answers, [nature.find_tolerance(output) for output in expected]) == 0.0

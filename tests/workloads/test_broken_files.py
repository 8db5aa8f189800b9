"""A file that is no model, weights or data is called what it is, whatever its format."""

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep import workloads
from sweep.spec import UserError
from sweep.workloads import broken_files
from tests.workloads.test_onnx_files import write_product

pytestmark = [pytest.mark.process, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 123456789\n"
PAGE = b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"
INSTEAD = {
    "pointer": (POINTER, "it is a pointer of git-lfs, not the file itself: run `git lfs pull`"),
    "page": (PAGE, "it is a page of a web site, not the file"),
    "empty": (b"", "it is empty"),
    "text": (b"Invalid username or password.", "it is a text, not the file: Invalid username or password."),
}
FILES = {"onnx": "m.onnx", "torchscript": "m.pt", "exported": "m.pt2", "npz": "m.npz"}


def load(kind: str, path: Path) -> Any:
    config = {"name": kind, "_target_": f"sweep.workloads.files.{kind}", "path": str(path)}
    if kind == "npz":
        return workloads.load_data(config)
    return workloads.load_model({**config, "format": kind, "trust": True})


def write_model(kind: str, path: Path) -> None:
    import torch

    net, example = torch.nn.Linear(2, 3).eval(), (torch.zeros(4, 2),)
    if kind == "onnx":
        write_product(path)
    elif kind == "torchscript":
        torch.jit.save(torch.jit.trace(net, example), path)
    elif kind == "exported":
        torch.export.save(torch.export.export(net, example), path)
    elif kind == "npz":
        np.savez(path, x=np.zeros((8, 2), np.float32))


@pytest.mark.parametrize("instead", INSTEAD)
@pytest.mark.parametrize("kind", FILES)
def test_what_stands_in_place_of_a_file_is_said(kind: str, instead: str, tmp_path: Path) -> None:
    content, words = INSTEAD[instead]
    path = tmp_path / FILES[kind]
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load(kind, path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("kind", FILES)
def test_a_cut_file_is_called_cut_and_a_folder_a_folder(kind: str, tmp_path: Path) -> None:
    path = tmp_path / FILES[kind]
    write_model(kind, path)
    load(kind, path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match="cut off"):
        load(kind, path)
    if kind != "npz":  # which may be a folder of .npy files
        with pytest.raises(UserError, match="it is a folder"):
            load(kind, tmp_path)


def test_arrays_in_a_folder_are_looked_at(tmp_path: Path) -> None:
    for content, words in ((POINTER, "git-lfs"), (make_array()[:-1], "cut off")):
        (tmp_path / "x.npy").write_bytes(content)
        with pytest.raises(UserError, match=f"the array .*x.npy: .*{words}"):
            load("npz", tmp_path)


def test_weights_beside_an_onnx_file_are_looked_at(tmp_path: Path) -> None:
    import onnx

    model = onnx.load(write_product(tmp_path / "plain.onnx").path)
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    beside = tmp_path / "m.data"
    whole = beside.read_bytes()
    load("onnx", tmp_path / "m.onnx")
    for content, words in ((POINTER, "git-lfs"), (whole[:-4], "cut off")):
        beside.write_bytes(content)
        with pytest.raises(UserError, match=f"the weights of m.onnx, .*m.data: .*{words}"):
            load("onnx", tmp_path / "m.onnx")
    beside.unlink()
    with pytest.raises(UserError, match="there is no such file"):
        load("onnx", tmp_path / "m.onnx")


def test_weights_alone_are_no_torchscript(tmp_path: Path) -> None:
    import torch

    torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "m.pt")
    with pytest.raises(UserError, match="has no code: it is a checkpoint of weights"):
        load("torchscript", tmp_path / "m.pt")


def make_safetensors() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(16)


def make_hdf5() -> bytes:
    """The superblock of version 0 of a file of 200 bytes, and as many."""
    head = broken_files.HDF5 + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + bytes(8) + bytes(16) + struct.pack("<Q", 200)
    return head.ljust(200, b"\x01")


def make_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(8))
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "make"), [("m.safetensors", make_safetensors), ("m.h5", make_hdf5), ("m.npy", make_array)]
)
def test_formats_whose_head_says_where_they_end(name: str, make: Callable[[], bytes], tmp_path: Path) -> None:
    path, content = tmp_path / name, make()
    path.write_bytes(content)
    assert broken_files.explain(path) is None
    for length in (len(content) - 1, len(content) // 2 + 30):
        path.write_bytes(content[:length])
        assert broken_files.explain(path) == "it is cut off, its end is missing: copy or download it again"


def read_own_file(weights: str, **unused: Any) -> Any:
    raise RuntimeError("cannot parse the checkpoint")


def read_hidden_file(folder: str) -> Any:
    raise ValueError(f"invalid load key in '{folder}/weights.pth'.")


@pytest.mark.parametrize(("factory", "key"), [("read_own_file", "weights"), ("read_hidden_file", "folder")])
def test_the_file_that_a_factory_cannot_read_is_named(factory: str, key: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(POINTER)
    config = {"_target_": f"{__name__}.{factory}", key: str(path if key == "weights" else tmp_path)}
    with pytest.raises(UserError, match=rf"{factory} cannot read .*weights.pth: it is a pointer of git-lfs"):
        workloads.load_model(config)
    path.write_bytes(b"\x80\x02whole")
    with pytest.raises((RuntimeError, ValueError)):
        workloads.load_model(config)


def test_a_picture_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/a.png").write_bytes(PAGE)
    with pytest.raises(UserError, match=r"a\.png is no picture that can be read: it is a page of a web site"):
        workloads.load_data({"_target_": "sweep.workloads.images.folder", "path": str(tmp_path)})

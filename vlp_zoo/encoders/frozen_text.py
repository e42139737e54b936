"""Sentence embeddings that are never trained: of a BERT, or learnt from a corpus.

Their cache on disk is in `vlp_zoo.encoders.text_cache`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vlp_zoo.encoders.drafts import DraftText, drafts_names
from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.encoders.text_cache import CACHE_FORMAT, FrozenText
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.encoders.weight_files import check_keys
from vlp_zoo.errors import ConfigError, EncoderLoadError, TokenizerError
from vlp_zoo.files import cache_folder, made_once, write_whole

__all__ = [
    "BertText",
    "CorpusText",
    "FrozenText",
    "frozen_text_from_state",
    "load_frozen_text",
    "text_for",
]

MAX_TERMS = 5000
logger = logging.getLogger(__name__)


class CorpusText(FrozenText):
    """Latent semantic analysis: TF-IDF of words and word pairs, then truncated SVD.

    Deerwester et al., Indexing by latent semantic analysis, 1990. Word pairs keep
    "no effusion" apart from "effusion". Nothing is downloaded, so it serves demos and
    tests; it knows no word that the corpus lacks.

    Args:
        terms: V words and pairs ("no effusion").
        weights: (V,) inverse document frequencies.
        components: (V, D) right singular vectors.
    """

    def __init__(
        self, terms: Sequence[str], weights: Tensor, components: Tensor
    ) -> None:
        super().__init__()
        self.terms = list(terms)
        self.weights = weights.float()
        self.components = components.float()
        self.width = components.shape[1]
        self._places_of_terms = {term: i for i, term in enumerate(self.terms)}
        digest = hashlib.sha256("\n".join(self.terms).encode())
        for tensor in (self.weights, self.components):
            digest.update(tensor.contiguous().numpy().tobytes())
        self.fingerprint = digest.hexdigest()

    @classmethod
    def learn(cls, corpus: Iterable[str], width: int = 128) -> CorpusText:
        """Learn terms and directions; the same corpus gives the same encoder.

        So it does with any number of threads, on one kind of CPU.

        Args:
            corpus: Reports.
            width: D; directions that a small corpus lacks are zero.

        Raises:
            ConfigError: If no term occurs twice.
        """
        from scipy.sparse import csr_matrix
        from sklearn.utils.extmath import randomized_svd
        from threadpoolctl import threadpool_limits

        counts = [Counter(_terms(text)) for text in corpus]
        frequency = Counter(term for row in counts for term in row)
        common = [term for term, count in frequency.items() if count > 1]
        terms = sorted(sorted(common, key=lambda t: (-frequency[t], t))[:MAX_TERMS])
        if not terms:
            raise ConfigError(
                "training reports that share words (text embeddings 'corpus')",
                f"{len(counts)} reports without a common word",
                "choose a data set with reports, or name a text model",
            )
        seen = np.array([frequency[term] for term in terms], np.float64)
        weights = np.log((1 + len(counts)) / (1 + seen)) + 1
        draft = cls(terms, torch.from_numpy(weights), torch.zeros(len(terms), 1))
        rows = [draft._row(row) for row in counts]
        matrix = csr_matrix(
            (
                np.concatenate([values for _, values in rows]),
                np.concatenate([places for places, _ in rows]),
                np.cumsum([0, *(len(places) for places, _ in rows)]),
            ),
            shape=(len(rows), len(terms)),
        )
        rank = min(width, *matrix.shape)
        # Several threads add in another order, and what is learnt here is kept for all
        # later runs: it must not hang on how many the first one had.
        with threadpool_limits(1, "blas"):
            _, _, found = randomized_svd(matrix, rank, n_iter=7, random_state=0)
        components = np.zeros((len(terms), width))
        components[:, :rank] = found.T
        return cls(terms, torch.from_numpy(weights), torch.from_numpy(components))

    @classmethod
    def for_corpus(
        cls, corpus: Callable[[], Iterable[str]], fingerprint: str, width: int = 128
    ) -> CorpusText:
        """What `learn` gives, learnt once a corpus; later calls read the cache.

        Processes that ask at the same time get the one that the first of them learns:
        on another kind of CPU the last digits would differ, and with them the
        fingerprint.
        """
        words = f"{CACHE_FORMAT} {MAX_TERMS} {width} {fingerprint}"
        name = hashlib.sha256(words.encode()).hexdigest()[:32]
        path = cache_folder() / "frozen_text" / f"corpus-{name}.safetensors"
        with made_once(path):
            if path.is_file():
                try:
                    return cls._load(path)
                except (OSError, ValueError, KeyError) as error:
                    logger.warning("learning text embeddings anew: %s", error)
            learnt = cls.learn(corpus(), width)
            try:
                write_whole(path, learnt._save)
            except OSError as error:
                logger.warning("text embeddings not cached: %s", error)
        return learnt

    def same_corpus(self, state: Mapping[str, Any]) -> bool:
        """Whether words and document frequencies are those of a stored `state`.

        Learnt on another kind of CPU, the directions of one corpus differ in their
        last digits.
        """
        return (
            state["kind"] == "corpus"
            and state["terms"] == self.terms
            and state["components"].shape == self.components.shape
            and torch.allclose(state["weights"], self.weights, rtol=1e-5)
        )

    def _save(self, path: Path) -> None:
        from safetensors.torch import save_file

        tensors = {"weights": self.weights, "components": self.components.contiguous()}
        save_file(tensors, path, metadata={"terms": json.dumps(self.terms)})

    @classmethod
    def _load(cls, path: Path) -> CorpusText:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                terms = json.loads(file.metadata()["terms"])
                return cls(
                    terms, file.get_tensor("weights"), file.get_tensor("components")
                )
        except SafetensorError as error:
            raise ValueError(f"{path}: {error}") from error

    def _row(
        self, counts: Mapping[str, int]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Places and unit-length TF-IDF values of a text's known terms."""
        known = {
            self._places_of_terms[term]: 1 + np.log(count)
            for term, count in counts.items()
            if term in self._places_of_terms
        }
        places = np.array(sorted(known), np.int64)
        values = np.array([known[place] for place in places], np.float64)
        values *= self.weights.numpy()[places]
        return places, values / max(float(np.linalg.norm(values)), 1e-12)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Embed texts; one without any known term becomes zeros."""
        vectors = np.zeros((len(texts), self.width), np.float32)
        components = self.components.numpy()
        for index, text in enumerate(texts):
            places, values = self._row(Counter(_terms(text)))
            vectors[index] = values @ components[places]
        return torch.from_numpy(vectors)

    def state(self) -> dict[str, Any]:
        """Terms and tensors: a checkpoint needs no corpus."""
        return {
            "kind": "corpus",
            "fingerprint": self.fingerprint,
            "terms": self.terms,
            "weights": self.weights,
            "components": self.components,
        }


def _terms(text: str) -> list[str]:
    # A pair does not reach over the end of a sentence.
    found = []
    for sentence in re.split(r"[.;:!?\n]", text.lower()):
        words = re.findall(r"[^\W_]+", sentence)
        found += words
        found += [f"{a} {b}" for a, b in pairwise(words)]
    return found


class BertText(FrozenText):
    """First token of the last layer of a pretrained BERT, RoBERTa, MPNet or the like.

    Args:
        name: Folder or hub name.
        max_tokens: Longer texts are cut; at most what the model was made for.
        batch_size: Texts at a time.
        parts: Encoder and tokenizer of that name, where they are there already.

    Raises:
        EncoderLoadError: If there is no such text encoder.
        TokenizerError: If there is no tokenizer with it.
    """

    def __init__(
        self,
        name: str,
        max_tokens: int = 256,
        batch_size: int = 32,
        parts: tuple[TextEncoder, ReportTokenizer] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        if parts is None:
            tokenizer = ReportTokenizer.load(name, any_kind=True)
            size, pad = tokenizer.vocab_size, tokenizer.pad_id
            parts = TextEncoder(size, pad_id=pad, name=name), tokenizer
        self.encoder, self.tokenizer = parts
        self.encoder.requires_grad_(False).eval()
        self.width = self.encoder.width
        self.max_tokens = min(max_tokens, self.encoder.max_positions)
        self.batch_size = batch_size
        self._device = torch.device("cpu")
        digest = hashlib.sha256(f"{self.max_tokens}".encode())
        digest.update(self.tokenizer.fingerprint.encode())
        for key, tensor in self.encoder.state_dict().items():
            digest.update(key.encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        self.fingerprint = digest.hexdigest()

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuilt from `state` alone, or in older checkpoints from the model's name."""
        if "weights" not in state:
            return cls(state["name"], state["max_tokens"])
        encoder = TextEncoder.from_spec(state["encoder"])
        check_keys(encoder.state_dict(), state["weights"], "the stored text model")
        encoder.load_state_dict(state["weights"])
        tokenizer = ReportTokenizer.from_json(state["tokenizer_json"])
        parts = (encoder, tokenizer)
        return cls(state["name"], state["max_tokens"], parts=parts)

    def to(self, device: torch.device | str) -> Self:
        """Move the network."""
        self._device = torch.device(device)
        self.encoder.to(self._device)
        return self

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Embed texts."""
        kind = self._device.type
        rows = [
            self.tokenizer.encode(text, self.max_tokens, sep=True) for text in texts
        ]
        vectors = np.empty((len(rows), self.width), np.float32)
        for part in self._alike([len(row) for row in rows]):
            longest = len(rows[part[-1]])
            ids = np.full((len(part), longest), self.tokenizer.pad_id, np.int64)
            for place, index in enumerate(part):
                ids[place, : len(rows[index])] = rows[index]
            lengths = np.array([len(rows[index]) for index in part])
            mask = torch.from_numpy(np.arange(longest) < lengths[:, None])
            # Cached numbers must not depend on the precision of a training run.
            with torch.inference_mode(), torch.autocast(kind, enabled=False):
                output = self.encoder(
                    torch.from_numpy(ids).to(self._device), mask.to(self._device)
                )
            vectors[part] = output.tokens[:, 0].float().cpu().numpy()
        return torch.from_numpy(vectors)

    def _alike(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Batches of texts of about the same length, so that little is padding."""
        part: list[int] = []
        for index in sorted(range(len(lengths)), key=lengths.__getitem__):
            long = part and lengths[index] > 1.25 * lengths[part[0]] + 4
            if long or len(part) == self.batch_size:
                yield part
                part = []
            part.append(index)
        if part:
            yield part

    def state(self) -> dict[str, Any]:
        """All of it: a checkpoint outlives the folder that the model came from."""
        weights = self.encoder.state_dict()
        return {
            "kind": "bert",
            "name": self.name,
            "max_tokens": self.max_tokens,
            "fingerprint": self.fingerprint,
            "encoder": self.encoder.spec,
            "tokenizer_json": self.tokenizer.to_json(),
            "weights": {key: tensor.cpu() for key, tensor in weights.items()},
        }


def load_frozen_text(
    spec: str,
    corpus: Callable[[], Iterable[str]] | None = None,
    fingerprint: str | None = None,
    width: int = 128,
    max_tokens: int = 256,
) -> FrozenText:
    """The frozen text encoder of that name.

    Args:
        spec: ``"corpus"`` learns one from the training reports (`CorpusText`); else a
            folder or hub name of a BERT (`BertText`).
        corpus: Gives the reports, for ``"corpus"``.
        fingerprint: Names the corpus; None learns anew each time.
        width: D, for ``"corpus"``.
        max_tokens: Longest text, for a BERT.

    Raises:
        ConfigError: If reports to learn from are wanted and not given.
        EncoderLoadError: If there is no such model.
    """
    if spec != "corpus":
        if drafts_names():
            return DraftText(spec)
        try:
            return BertText(spec, max_tokens)
        except (EncoderLoadError, TokenizerError) as error:
            raise EncoderLoadError(
                f"the frozen text model {spec}",
                error.found,
                "name a folder with its files, go on line once to fetch it, or take "
                "'corpus' (features of the training reports, no download)",
            ) from error
    if corpus is None:
        raise ConfigError(
            "training reports to learn text embeddings from (text model 'corpus')",
            "no data module with a corpus",
            "name a text model: a folder or hub name of a BERT",
        )
    if fingerprint is None:
        return CorpusText.learn(corpus(), width)
    return CorpusText.for_corpus(corpus, fingerprint, width)


def text_for(data: Any, spec: str, width: int, max_tokens: int = 256) -> FrozenText:
    """`load_frozen_text` with the training reports of a data module, if it has some."""
    reports = getattr(data, "corpus", None)
    fingerprint = None if reports is None else data.corpus_fingerprint
    return load_frozen_text(spec, reports, fingerprint, width, max_tokens)


def frozen_text_from_state(state: Mapping[str, Any]) -> FrozenText:
    """The encoder that a checkpoint was trained with, from `FrozenText.state`.

    Raises:
        EncoderLoadError: If it is not what its fingerprint says: a checkpoint of an
            older release names a text model, which may have other weights by now.
    """
    if state["kind"] == "corpus":
        return CorpusText(state["terms"], state["weights"], state["components"])
    found = BertText.from_state(state)
    if found.fingerprint != state["fingerprint"]:
        raise EncoderLoadError(
            f"the text model {state['name']} that the checkpoint was trained with",
            "one of that name with other weights or another vocabulary",
            "put the original text model back",
        )
    return found

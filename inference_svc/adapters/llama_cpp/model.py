"""A loaded GGUF: its vocabulary, its template, its identity."""

import ctypes
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference_svc.adapters.llama_cpp.library import first_problem, forget_problems, native, start_library
from inference_svc.adapters.llama_cpp.options import Device
from inference_svc.domain.weights import Form, Size
from threadmesh.errors import BackendUnavailable, InvalidArgument

_SAMPLES = 64
_SAMPLE_BYTES = 65_536
_HEADER_BYTES = 4 * 1024 * 1024


class ModelFileError(BackendUnavailable):
    """The model file cannot be used."""

    reason = "MODEL_FILE_UNUSABLE"
    retryable = False


class LoadedModel:
    """The weights and the vocabulary of one GGUF file. Tokenising may be done from any thread."""

    form = Form.FILE
    """How the weights are held."""

    def __init__(self, path: Path, *, device: Device | None = None, vocabulary_only: bool = False) -> None:
        """Load a file. Raises `ModelFileError` with what llama.cpp says about it."""
        start_library()
        forget_problems()
        params = native.llama_model_default_params()
        device = device or Device()
        split = _shares(device.tensor_split)
        params.n_gpu_layers = device.gpu_layers
        params.split_mode = getattr(native, f"LLAMA_SPLIT_MODE_{device.split_mode.upper()}")
        params.main_gpu = device.main_gpu
        params.tensor_split = split
        params.vocab_only = vocabulary_only
        self._handle = native.llama_model_load_from_file(str(path).encode(), params)
        if not self._handle:
            raise ModelFileError(f"{path} is not a usable GGUF file: {first_problem() or 'it cannot be read'}.")
        self._vocab = native.llama_model_get_vocab(self._handle)
        self.path = path
        self.vocabulary = int(native.llama_vocab_n_tokens(self._vocab))
        self.trained_tokens = int(native.llama_model_n_ctx_train(self._handle))
        self.reusable = not (
            native.llama_model_is_recurrent(self._handle) or native.llama_model_is_hybrid(self._handle)
        )
        self._pieces: dict[tuple[int, bool], bytes] = {}

    @property
    def handle(self) -> Any:
        """The `llama_model *`."""
        return self._handle

    @property
    def vocab(self) -> Any:
        """The `const llama_vocab *`."""
        return self._vocab

    def tokenize(self, text: str, *, special: bool, ends: bool = False) -> list[int]:
        """Give a text's tokens; only with `special` can it hold control tokens.

        With `ends` the model's own tokens for the beginning and the end of a text are added.
        """
        data = text.encode(errors="replace")
        room = len(data) + 2
        tokens = (native.llama_token * room)()
        count = native.llama_tokenize(self._vocab, data, len(data), tokens, room, ends, special)
        if count < 0:
            tokens = (native.llama_token * -count)()
            count = native.llama_tokenize(self._vocab, data, len(data), tokens, -count, ends, special)
        return list(tokens[:count])

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """Give a token's bytes; those of a control token only with `special`."""
        key = (token, special)
        if key not in self._pieces:
            self._pieces[key] = self._read_piece(token, special=special)
        return self._pieces[key]

    def _read_piece(self, token: int, *, special: bool) -> bytes:
        buffer = ctypes.create_string_buffer(64)
        size = native.llama_token_to_piece(self._vocab, token, buffer, 64, 0, special)
        if size < 0:
            buffer = ctypes.create_string_buffer(-size)
            size = native.llama_token_to_piece(self._vocab, token, buffer, -size, 0, special)
        return buffer.raw[: max(size, 0)]

    def pieces(self, tokens: Sequence[int]) -> list[bytes]:
        """Give the bytes of tokens, control tokens written out. Raises `InvalidArgument` for what is no token."""
        self.require(tokens, field="ids")
        return [self.piece(token, special=True) for token in tokens]

    def require(self, tokens: Sequence[int], *, field: str) -> None:
        """Raise `InvalidArgument` with the place of what is no token of this model."""
        for place, token in enumerate(tokens):
            if not 0 <= token < self.vocabulary:
                raise InvalidArgument("There is no such token.", field=f"{field}[{place}]")

    def reveal(self, marker: str) -> None:
        """Let a control token show as text, for markers that are read in answers."""
        tokens = self.tokenize(marker, special=True)
        if len(tokens) == 1:
            self._pieces[tokens[0], False] = marker.encode()

    def ends(self, token: int) -> bool:
        """Whether the model ends its answer with this token."""
        return bool(native.llama_vocab_is_eog(self._vocab, token))

    @functools.cached_property
    def end_tokens(self) -> tuple[int, ...]:
        """All tokens that end an answer."""
        return tuple(token for token in range(self.vocabulary) if self.ends(token))

    def is_control(self, token: int) -> bool:
        """Whether a token steers the model rather than says something."""
        return bool(native.llama_vocab_is_control(self._vocab, token))

    @property
    def begin_token(self) -> int | None:
        """The token that every prompt begins with, for models that want one."""
        wants = native.llama_vocab_get_add_bos(self._vocab)
        return int(native.llama_vocab_bos(self._vocab)) if wants else None

    @property
    def begin_text(self) -> str:
        """What a template knows as `bos_token`."""
        return self._token_text(native.llama_vocab_bos(self._vocab))

    @property
    def end_text(self) -> str:
        """What a template knows as `eos_token`."""
        return self._token_text(native.llama_vocab_eos(self._vocab))

    def _token_text(self, token: int) -> str:
        return self.piece(token, special=True).decode(errors="replace") if token >= 0 else ""

    @property
    def template(self) -> str:
        """The chat template in the file; empty if there is none."""
        found = native.llama_model_chat_template(self._handle, None)
        return found.decode(errors="replace") if found else ""

    @property
    def size(self) -> Size:
        """How many weights there are, and the bytes they take."""
        return Size(
            weights=int(native.llama_model_n_params(self._handle)), bytes=int(native.llama_model_size(self._handle))
        )

    def fingerprint(self) -> str:
        """Give 16 hexadecimal digits that differ where weights or template do."""
        return fingerprint_of(self.path)

    def metadata(self, key: str) -> str | None:
        """Give a value of the file's metadata as text; None if it is not there. Lists cannot be read."""
        buffer = ctypes.create_string_buffer(256)
        size = native.llama_model_meta_val_str(self._handle, key.encode(), buffer, len(buffer))
        return None if size < 0 else buffer.value.decode(errors="replace")

    def close(self) -> None:
        """Free the weights; contexts of the model must be closed before."""
        if self._handle:
            native.llama_model_free(self._handle)
            self._handle = None


def _shares(shares: Sequence[float]) -> Any:
    """Give what each GPU takes as llama.cpp reads it, None to leave it to llama.cpp."""
    return (ctypes.c_float * native.llama_max_devices())(*shares) if shares else None


class PreparedModel(LoadedModel):
    """The weights of a GGUF file in another form, from the copy that was made of it."""

    def __init__(self, path: Path, *, source: Path, form: Form, device: Device) -> None:
        """Load the copy of `source` at `path`. Raises `ModelFileError`."""
        super().__init__(path, device=device)
        self._source, self.form = source, form

    def fingerprint(self) -> str:
        """Give the source's digits and the form: another form computes other numbers, so its streams differ."""
        return f"{fingerprint_of(self._source)}-{self.form}"


def fingerprint_of(path: Path) -> str:
    """Give 16 hexadecimal digits that differ where a GGUF file's weights or metadata do.

    A gigabyte takes seconds to hash, so it is the header, where the template is, and samples of the weights.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_HEADER_BYTES))
        for sample in range(_SAMPLES):
            file.seek(size * sample // _SAMPLES)
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:16]

"""Images and sounds as a model with a projector reads them (libmtmd of llama.cpp).

The first decoding of what a stranger sent is done in C, by stb_image and miniaudio. What they would decode is checked
before, here and in the domain, and bytes of an unknown format never reach them: libmtmd would hand those to an ffmpeg
on the path.
"""

import ctypes
import functools
import hashlib
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inference_svc.adapters.llama_cpp.context import Decoded
from inference_svc.adapters.llama_cpp.library import first_problem, forget_problems, listen, mtmd, native
from inference_svc.adapters.llama_cpp.model import LoadedModel, ModelFileError
from inference_svc.domain.image_check import check_image
from inference_svc.domain.media_tokens import MOST_POSITIONS, pseudo_tokens
from inference_svc.domain.sound_check import LEAST_SECONDS, checked_sound
from threadmesh.conversation import Media
from threadmesh.errors import BackendUnavailable, Internal, InvalidArgument
from threadmesh.media_types import media_type_of, same_media_type

_KEPT = 8
_NOWHERE = b"/dev/null"
_PROBE_SIDE = 64
_SAMPLE_BYTES = 4


class MediaChunk:
    """An image, a slice of one, or up to some seconds of sound.

    Fills `cells` of the KV cache and takes `positions`, for which `tokens` stand in a prompt. Its embeddings are
    computed once and kept as long as it lives.
    """

    def __init__(self, handle: int, *, identity: bytes) -> None:
        """Own a chunk of libmtmd; `identity` is what its tokens are made from."""
        self.handle = handle
        self.cells = int(mtmd.mtmd_input_chunk_get_n_tokens(handle))
        self.positions = int(mtmd.mtmd_input_chunk_get_n_pos(handle))
        self.tokens = pseudo_tokens(identity, self.positions) if 0 < self.positions <= MOST_POSITIONS else []
        self.embeddings: Any = None
        weakref.finalize(self, mtmd.mtmd_input_chunk_free, handle)


Piece = tuple[int, ...] | MediaChunk
"""Tokens of text, such as the marks that a model wants around an image; or a chunk."""


class MediaReader:
    """A projector of a loaded model. `evaluate` belongs to the engine's thread; the rest may be called from any."""

    def __init__(self, path: Path, model: LoadedModel, *, threads: int, batch: int, gpu: bool) -> None:
        """Open a projector file; `batch` is the most tokens that a context computes at once.

        Raises `ModelFileError` if it is no projector or belongs to another model.
        """
        listen(mtmd.mtmd_helper_log_set)
        forget_problems()
        params = mtmd.mtmd_context_params_default()
        params.use_gpu, params.n_threads, params.print_timings = gpu, threads, False
        self._handle = mtmd.mtmd_init_from_file(str(path).encode(), model.handle, params)
        if not self._handle:
            problem = first_problem().partition("\n")[0] or "it cannot be read"
            raise ModelFileError(f"{path} is not a usable projector of this model: {problem}.")
        self.sees = bool(mtmd.mtmd_support_vision(self._handle))
        self.hears = bool(mtmd.mtmd_support_audio(self._handle))
        self._rate = int(mtmd.mtmd_get_audio_sample_rate(self._handle))
        self._width = int(native.llama_model_n_embd_inp(model.handle))
        self._batch, self._path = batch, path
        self._kept: OrderedDict[bytes, tuple[Piece, ...]] = OrderedDict()
        self._reading, self._encoding = threading.Lock(), threading.Lock()
        try:
            self._probe()
        except BaseException:
            self.close()
            raise

    def _probe(self) -> None:
        """Read a grey square, so that a projector that cannot work with this model is refused at once."""
        if not self.sees:
            return
        grey = (ctypes.c_uint8 * (_PROBE_SIDE * _PROBE_SIDE * 3)).from_buffer_copy(b"\x80" * _PROBE_SIDE**2 * 3)
        try:
            with _freed(mtmd.mtmd_bitmap_init(_PROBE_SIDE, _PROBE_SIDE, grey)) as bitmap:
                self._pieces(bitmap, identity=b"", field="")
        except InvalidArgument as error:
            raise ModelFileError(f"{self._path} cannot be used here with an image: {error.message}") from error

    def read(self, media: Media, *, field: str) -> tuple[Piece, ...]:
        """Give an image or a sound as the model reads it; `field` says where it stands in the request.

        What was read lately is not decoded again. Raises `InvalidArgument` for what this model cannot read, what is not
        what it is declared to be, and what is broken or too large; `BackendUnavailable` after `close`.
        """
        identity = hashlib.sha256(media.data).digest()
        found = media_type_of(media.data)
        self._require(media.mime_type, found, field=field)
        with self._reading:
            self._require_open()
            if identity not in self._kept:
                with _freed(self._decode(found, media.data, field=field)) as bitmap:
                    self._kept[identity] = self._pieces(bitmap, identity=identity, field=field)
            self._kept.move_to_end(identity)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return self._kept[identity]

    def _require_open(self) -> None:
        if not self._handle:
            raise BackendUnavailable("The model is being closed.")

    def _require(self, declared: str, found: str, *, field: str) -> None:
        if not found:
            raise InvalidArgument("The bytes are neither an image nor a sound of a known format.", field=field)
        if not same_media_type(declared, found):
            raise InvalidArgument(f"The bytes are {found}, not what is declared.", field=field)
        if found.startswith("image/") and not self.sees:
            raise InvalidArgument("This model does not see images.", field=field)
        if found.startswith("audio/") and not self.hears:
            raise InvalidArgument("This model does not hear sounds.", field=field)

    def _decode(self, found: str, data: bytes, *, field: str) -> Any:
        """Give an `mtmd_bitmap *` of pixels or samples."""
        if found.startswith("audio/"):
            data = checked_sound(found, data, field=field)
        else:
            check_image(found, data, field=field)
        options = mtmd.mtmd_helper_init_opt_default()
        options.video_params.ffmpeg_bin_dir = _NOWHERE
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        load = mtmd.mtmd_helper_bitmap_init_from_buf_wrapper
        bitmap = load(self._handle, buffer, len(data), False, options).bitmap
        if not bitmap:
            raise InvalidArgument("The image or sound is damaged.", field=field)
        if found.startswith("audio/") and mtmd.mtmd_bitmap_get_n_bytes(bitmap) < self._shortest:
            mtmd.mtmd_bitmap_free(bitmap)
            raise InvalidArgument(f"The sound is shorter than {LEAST_SECONDS} seconds.", field=field)
        return bitmap

    @functools.cached_property
    def _shortest(self) -> int:
        return int(LEAST_SECONDS * self._rate) * _SAMPLE_BYTES

    def _pieces(self, bitmap: Any, *, identity: bytes, field: str) -> tuple[Piece, ...]:
        """Let libmtmd cut an image into slices and put the model's own marks around them."""
        chunks = mtmd.mtmd_input_chunks_init()
        marker = mtmd.mtmd_default_marker()
        text = mtmd.mtmd_input_text(text=marker, text_len=len(marker), add_special=False, parse_special=True)
        try:
            bitmaps = (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap)
            if mtmd.mtmd_tokenize(self._handle, chunks, ctypes.byref(text), bitmaps, 1) != 0:
                raise InvalidArgument("The model cannot read an image or sound of this size.", field=field)
            handles = [mtmd.mtmd_input_chunks_get(chunks, n) for n in range(mtmd.mtmd_input_chunks_size(chunks))]
            return tuple(
                self._piece(handle, identity=identity + place.to_bytes(4), field=field)
                for place, handle in enumerate(handles)
            )
        finally:
            mtmd.mtmd_input_chunks_free(chunks)

    def _piece(self, handle: Any, *, identity: bytes, field: str) -> Piece:
        if mtmd.mtmd_input_chunk_get_type(handle) == mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT:
            count = ctypes.c_size_t()
            tokens = mtmd.mtmd_input_chunk_get_tokens_text(handle, ctypes.byref(count))
            marks = tuple(tokens[: count.value])
            if min(marks, default=0) < 0:
                raise ModelFileError(f"{self._path} uses marks that this model does not know.")
            return marks
        chunk = MediaChunk(mtmd.mtmd_input_chunk_copy(handle), identity=identity)
        at_once = mtmd.mtmd_decode_use_non_causal(self._handle, chunk.handle)
        if not chunk.tokens or (at_once and chunk.cells > self._batch):
            raise InvalidArgument(f"It takes {chunk.cells} tokens, more than are computed at once.", field=field)
        return chunk

    def encode(self, chunk: MediaChunk) -> None:
        """Compute a chunk's embeddings once: seconds of work for a large image, which nothing cuts short.

        Done before the engine needs them, other requests are not held up. Raises `Internal` if it fails,
        `BackendUnavailable` after `close`.
        """
        with self._encoding:
            self._require_open()
            if chunk.embeddings is not None:
                return
            if mtmd.mtmd_encode_chunk(self._handle, chunk.handle) != 0:
                raise Internal("The image or sound could not be computed.")
            embeddings = (ctypes.c_float * (self._width * chunk.cells))()
            ctypes.memmove(embeddings, mtmd.mtmd_get_output_embd(self._handle), ctypes.sizeof(embeddings))
            chunk.embeddings = embeddings

    def evaluate(self, chunk: MediaChunk, context: Any, *, sequence: int, position: int) -> Decoded:
        """Let a `llama_context *` read a chunk as a step of its own; no logits are kept.

        Other sequences of the context stay as they are. Where the chunk was not read to its end, nothing of it is left
        in the KV cache; the context's abort switch ends it early.
        """
        self.encode(chunk)
        end = native.llama_pos()
        code = mtmd.mtmd_helper_decode_image_chunk(
            self._handle,
            context,
            chunk.handle,
            chunk.embeddings,
            position,
            sequence,
            native.llama_n_ubatch(context),
            ctypes.byref(end),
            mtmd.mtmd_helper_post_decode_callback(),
            None,
        )
        if code == 0:
            native.llama_synchronize(context)
            return Decoded.DONE
        native.llama_memory_seq_rm(native.llama_get_memory(context), sequence, position, -1)
        return Decoded(code) if code in (1, 2) else Decoded.FAILED

    def close(self) -> None:
        """Wait for what is being read, then free the projector; its model must be freed later, chunks may be."""
        with self._reading, self._encoding:
            self._kept.clear()
            mtmd.mtmd_free(self._handle)
            self._handle = None


@contextmanager
def _freed(bitmap: Any) -> Iterator[Any]:
    try:
        yield bitmap
    finally:
        mtmd.mtmd_bitmap_free(bitmap)

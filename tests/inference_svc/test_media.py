"""Images and sounds in a real context: read, kept, told apart, and refused where they are broken."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_svc.adapters.llama_cpp.context import Context, Decoded, Entry
from inference_svc.adapters.llama_cpp.library import native
from inference_svc.adapters.llama_cpp.media import MediaChunk, MediaReader, Piece
from inference_svc.adapters.llama_cpp.model import LoadedModel, ModelFileError
from inference_svc.adapters.llama_cpp.options import ContextOptions
from inference_svc.adapters.llama_cpp.prompt_reader import PromptReader, ReadPrompt
from inference_svc.adapters.llama_cpp.template import ChatTemplate
from inference_svc.domain.media_tokens import is_media, whole_chunks
from inference_svc.domain.prompt import Conversation
from tests.inference_svc.tiny_media import bmp, gif, mp3, png, png_of, wav
from tests.inference_svc.tiny_model import WIDTH, write_model
from tests.inference_svc.tiny_projector import write_projector
from threadmesh.conversation import Media, Message, Part, Role, Text, message
from threadmesh.errors import InvalidArgument

CAT = Media(mime_type="image/png", data=png(60, 40))
DOG = Media(mime_type="image/png", data=png(60, 40, lambda x, y: (255 - x, y, x * y % 256)))
TONE = Media(mime_type="audio/wav", data=wav(1.0))
OTHER_TONE = Media(mime_type="audio/wav", data=wav(1.0, hertz=1_000.0))
Logits = np.ndarray[Any, np.dtype[np.float32]]


def reader_of(
    directory: Path, model: LoadedModel, *, sees: str = "", hears: bool = False, **changed: int
) -> MediaReader:
    path = write_projector(
        directory / f"{sees}-{hears}.gguf", sees=sees, hears=hears, width=changed.get("width", WIDTH)
    )
    return MediaReader(path, model, threads=1, batch=changed.get("batch", Hand.batch), gpu=False)


class Hand:
    """A model, its projector and a context, driven by hand as an engine would."""

    batch = 64

    def __init__(self, directory: Path, *, sees: str = "", hears: bool = False) -> None:
        architecture = "qwen2vl" if sees == "qwen2vl_merger" else "qwen2"
        path = write_model(directory / f"{architecture} {sees} {hears}.gguf", architecture=architecture)
        self.model = LoadedModel(path)
        self.media = reader_of(directory, self.model, sees=sees, hears=hears)
        self.context = Context(self.model, ContextOptions(cells=512, slots=3, rows=8, batch=self.batch, threads=1))

    def prompt(self, *parts: Part | str) -> ReadPrompt:
        """Read a question as the model's template puts it."""
        said = tuple(Text(text=part) if isinstance(part, str) else part for part in parts)
        reader = PromptReader(self.model, ChatTemplate(""), media=self.media)
        return reader.read(Conversation(messages=(Message(role=Role.USER, parts=said),)), ask=True)

    def follow(self, prompt: ReadPrompt, *, sequence: int = 0, begin: int = 0) -> Logits:
        """Compute a prompt from a position on and give the logits after its last token."""
        position, row = begin, -1
        while position < len(prompt.tokens):
            if span := prompt.layout.at(position):
                assert self.evaluate(prompt.media[position], sequence=sequence, position=position) is Decoded.DONE
                position = span.end
            else:
                text = prompt.tokens[position : position + prompt.layout.text_at(position, self.batch)]
                row = self.decode(text, sequence=sequence, position=position)
                position += len(text)
        return self.logits(row)

    def evaluate(self, chunk: MediaChunk, *, sequence: int, position: int) -> Decoded:
        return self.media.evaluate(chunk, self.context.handle, sequence=sequence, position=position)

    def decode(self, tokens: list[int], *, sequence: int, position: int) -> int:
        entry = Entry(sequence=sequence, position=position, tokens=tokens, wanted=1)
        decoded, rows = self.context.decode([entry])
        assert decoded is Decoded.DONE
        return rows[0]

    def logits(self, row: int) -> Logits:
        found = native.llama_get_logits_ith(self.context.handle, row)
        return np.ctypeslib.as_array(found, (self.model.vocabulary,)).copy()

    def last_position(self, sequence: int) -> int:
        return int(native.llama_memory_seq_pos_max(native.llama_get_memory(self.context.handle), sequence))

    def close(self) -> None:
        self.context.close()
        self.media.close()
        self.model.close()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("projectors")


@pytest.fixture(scope="module", params=["gemma3", "mlp", "qwen2vl_merger"])
def opened(request: pytest.FixtureRequest, directory: Path) -> Iterator[Hand]:
    hand = Hand(directory, sees=request.param)
    yield hand
    hand.close()


@pytest.fixture
def hand(opened: Hand) -> Hand:
    opened.context.forget_all()
    return opened


@pytest.fixture(scope="module")
def model(directory: Path) -> Iterator[LoadedModel]:
    found = LoadedModel(write_model(directory / "plain.gguf"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def reader(directory: Path, model: LoadedModel) -> Iterator[MediaReader]:
    """A projector that sees and hears."""
    found = reader_of(directory, model, sees="gemma3", hears=True)
    yield found
    found.close()


def alike(one: Logits, other: Logits) -> bool:
    return bool(np.allclose(one, other, atol=1e-3))


def test_an_image_is_read_again_as_it_was_read_first(hand: Hand) -> None:
    prompt = hand.prompt("Look at this: ", CAT, " What is it?")
    first = hand.follow(prompt)
    hand.context.keep(0, 0)

    assert alike(hand.follow(prompt), first)


@pytest.mark.parametrize("cut", ["before the image", "after the image"])
def test_a_prefix_with_an_image_is_continued(hand: Hand, cut: str) -> None:
    prompt = hand.prompt("Look at this: ", CAT, " What is it?")
    first = hand.follow(prompt)
    (span,) = prompt.layout.spans
    kept = span.begin if cut == "before the image" else span.end
    hand.context.keep(0, kept)

    assert whole_chunks(prompt.tokens, kept) == kept
    assert alike(hand.follow(prompt, begin=kept), first)


def test_a_prefix_with_an_image_is_copied_to_another_sequence(hand: Hand) -> None:
    prompt = hand.prompt("Look at this: ", CAT, " What is it?")
    first = hand.follow(prompt)
    (span,) = prompt.layout.spans
    hand.context.copy(0, 1, span.end)

    assert alike(hand.follow(prompt, sequence=1, begin=span.end), first)


def test_different_images_are_read_differently(hand: Hand) -> None:
    cat, dog = hand.prompt("See ", CAT, "?"), hand.prompt("See ", DOG, "?")
    seen = hand.follow(cat)

    assert cat.tokens != dog.tokens
    assert not alike(hand.follow(dog, sequence=1), seen)


def test_the_order_of_two_images_matters(hand: Hand) -> None:
    seen = hand.follow(hand.prompt(CAT, DOG, "?"))

    assert not alike(hand.follow(hand.prompt(DOG, CAT, "?"), sequence=1), seen)


def test_other_sequences_go_on_as_if_there_were_no_image(hand: Hand) -> None:
    told = hand.model.tokenize("once upon a time there was", special=False)
    half = len(told) // 2
    hand.decode(told[:half], sequence=1, position=0)
    alone = hand.logits(hand.decode(told[half:], sequence=1, position=half))
    hand.context.keep(1, half)
    hand.follow(hand.prompt("See ", CAT, "?"), sequence=0)

    assert alike(hand.logits(hand.decode(told[half:], sequence=1, position=half)), alone)
    assert native.llama_get_causal_attn(hand.context.handle)


def test_an_image_that_is_cut_short_leaves_nothing_behind(hand: Hand) -> None:
    prompt = hand.prompt("See ", CAT, "?")
    whole = hand.follow(prompt)
    (span,) = prompt.layout.spans
    hand.context.keep(0, span.begin)
    hand.context.abort()
    cut = hand.evaluate(prompt.media[span.begin], sequence=0, position=span.begin)
    hand.context.rearm()

    assert cut is Decoded.ABORTED
    assert hand.last_position(0) == span.begin - 1
    assert native.llama_get_causal_attn(hand.context.handle)
    assert alike(hand.follow(prompt, begin=span.begin), whole)


def test_an_image_that_finds_no_room_leaves_nothing_behind(hand: Hand) -> None:
    chunk = next(iter(hand.prompt(CAT).media.values()))
    for position in range(0, 512, hand.batch):
        hand.decode([1] * hand.batch, sequence=2, position=position)

    assert hand.evaluate(chunk, sequence=0, position=0) is Decoded.FULL
    assert hand.last_position(0) == -1


def test_an_image_is_one_position_for_each_token_except_with_m_rope(hand: Hand) -> None:
    prompt = hand.prompt("See ", CAT, "?")
    (span,) = prompt.layout.spans
    several = native.llama_model_rope_type(hand.model.handle) == native.LLAMA_ROPE_TYPE_MROPE

    assert (span.cells > span.positions) is several
    assert prompt.cells == len(prompt.tokens) + span.cells - span.positions
    assert [place for place, token in enumerate(prompt.tokens) if is_media(token)] == list(range(span.begin, span.end))


def test_the_models_own_marks_stand_around_an_image_and_nobody_elses(directory: Path) -> None:
    model = LoadedModel(write_model(directory / "marks.gguf", architecture="qwen2vl"))
    media = reader_of(directory, model, sees="qwen2vl_merger")
    said = (Text(text="<|vision_start|><__media__>"), CAT, Text(text="<|vision_end|>"))
    turns = Conversation(messages=(Message(role=Role.USER, parts=said),))
    tokens = PromptReader(model, ChatTemplate(""), media=media).read(turns, ask=True).tokens
    media.close()
    begin, end = (model.tokenize(mark, special=True) for mark in ("<|vision_start|>", "<|vision_end|>"))
    model.close()
    places = [place for place, token in enumerate(tokens) if is_media(token)]

    assert [place for place, token in enumerate(tokens) if [token] == begin] == [places[0] - 1]
    assert [place for place, token in enumerate(tokens) if [token] == end] == [places[-1] + 1]


def test_sounds_are_read_and_told_apart(directory: Path) -> None:
    hand = Hand(directory, hears=True)
    heard = hand.follow(hand.prompt("Listen: ", TONE, " Well?"))
    again = hand.follow(hand.prompt("Listen: ", TONE, " Well?"), sequence=1)
    other = hand.follow(hand.prompt("Listen: ", OTHER_TONE, " Well?"), sequence=2)
    long = hand.prompt(Media(mime_type="audio/wav", data=wav(31.0)))
    hand.close()

    assert alike(heard, again)
    assert not alike(heard, other)
    assert len(long.media) == 2


@pytest.mark.parametrize(
    ("mime_type", "data"),
    [
        ("image/png", png(1, 1)),
        ("image/png", png(200, 1)),
        ("image/bmp", bmp(3, 5)),
        ("image/gif", gif()),
        ("image/PNG", png(5, 5)),
        ("audio/mp3", mp3(20)),
        ("audio/mpeg", mp3(20, claimed=2**32 - 2)),
        ("audio/wav", wav(0.2, rate=48_000)),
    ],
)
def test_formats_are_read(reader: MediaReader, mime_type: str, data: bytes) -> None:
    pieces = reader.read(Media(mime_type=mime_type, data=data), field="f")

    assert sum(isinstance(piece, MediaChunk) for piece in pieces) == 1


def test_what_was_read_is_not_read_again(reader: MediaReader) -> None:
    one, two = (reader.read(CAT, field="f") for _ in range(2))

    assert one is two


@pytest.mark.parametrize(
    ("mime_type", "data", "problem"),
    [
        ("image/png", b"", "known format"),
        ("image/png", b"<!doctype html>", "known format"),
        ("image/png", bmp(3, 5), "are image/bmp"),
        ("audio/wav", png(3, 5), "are image/png"),
        ("image/png", png(30, 20)[:-20], "damaged"),
        ("image/png", png_of(4_001, 4_000, b""), "million pixels"),
        ("image/gif", gif()[:13] + b"\0" * 40, "damaged"),
        ("image/jpeg", b"\xff\xd8\xff\xc0\0\x0b\x08\0\x08\0\x08\1\1\x11\0\xff\xda\0\2\xff\xd9", "damaged"),
        ("image/webp", b"RIFF\0\0\0\0WEBPVP8 ", "PNG, JPEG, GIF or BMP"),
        ("audio/wav", wav(0.01), "shorter than"),
        ("audio/wav", wav(0.0), "damaged"),
        ("audio/wav", b"RIFF\0\0\0\0WAVE", "damaged"),
        ("audio/mpeg", b"\xff\xfb\x90\xc4", "damaged"),
        ("audio/flac", b"fLaC" + bytes(60), "damaged"),
    ],
)
def test_broken_media_are_refused_with_their_place(
    reader: MediaReader, mime_type: str, data: bytes, problem: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        reader.read(Media(mime_type=mime_type, data=data), field="messages[0].parts[1]")

    assert caught.value.field == "messages[0].parts[1]"
    assert problem in caught.value.message


def test_bytes_that_cannot_be_decoded_start_no_other_program(
    reader: MediaReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ffprobe", "ffmpeg"):
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(InvalidArgument):
        reader.read(Media(mime_type="image/gif", data=gif()[:13] + b"\0" * 41), field="f")

    assert not (tmp_path / "started").exists()


@given(st.data())
def test_no_damage_does_more_than_refuse(reader: MediaReader, data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([CAT, TONE, *MORE]))
    place = data.draw(st.integers(0, len(whole.data) - 1))
    damage = data.draw(st.binary(min_size=1, max_size=8))
    broken = whole.data[:place] + damage + whole.data[place + len(damage) :]
    end = data.draw(st.sampled_from([len(broken), place]))
    pieces: tuple[Piece, ...] = ()
    with suppress(InvalidArgument):
        pieces = reader.read(Media(mime_type=whole.mime_type, data=broken[:end]), field="f")

    assert not pieces or any(isinstance(piece, MediaChunk) for piece in pieces)


MORE = (
    Media(mime_type="image/gif", data=gif()),
    Media(mime_type="image/bmp", data=bmp(9, 9)),
    Media(mime_type="audio/mpeg", data=mp3(10, claimed=10)),
    Media(mime_type="audio/wav", data=wav(0.2, rate=8_000)),
)


def test_a_projector_of_another_model_is_refused(directory: Path, model: LoadedModel) -> None:
    with pytest.raises(ModelFileError, match=f"n_embd = {2 * WIDTH}"):
        reader_of(directory, model, sees="gemma3", width=2 * WIDTH)


@pytest.mark.parametrize("name", ["plain.gguf", "missing.gguf"])
def test_a_file_that_is_no_projector_is_refused(directory: Path, model: LoadedModel, name: str) -> None:
    with pytest.raises(ModelFileError, match="not a usable projector"):
        MediaReader(directory / name, model, threads=1, batch=64, gpu=False)


def test_an_image_that_must_be_computed_at_once_must_fit_a_step(directory: Path, model: LoadedModel) -> None:
    with pytest.raises(ModelFileError, match="16 tokens"):
        reader_of(directory, model, sees="gemma3", batch=15)


@pytest.mark.parametrize(("media", "sees", "problem"), [(CAT, "", "does not see"), (TONE, "mlp", "does not hear")])
def test_a_model_says_what_it_cannot_take(
    directory: Path, model: LoadedModel, media: Media, sees: str, problem: str
) -> None:
    reader = reader_of(directory, model, sees=sees, hears=not sees)

    assert (reader.sees, reader.hears) == (bool(sees), not sees)
    with pytest.raises(InvalidArgument, match=problem):
        reader.read(media, field="f")
    reader.close()


def test_a_question_ends_with_text_that_the_answer_follows(hand: Hand) -> None:
    template = ChatTemplate("{% for message in messages %}{{ message.content }}{% endfor %}")
    turns = Conversation(messages=(Message(role=Role.USER, parts=(Text(text="See"), CAT)),))
    reader = PromptReader(hand.model, template, media=hand.media)

    assert reader.read(turns, ask=False).media
    with pytest.raises(InvalidArgument, match="wants a text after") as caught:
        reader.read(turns, ask=True)
    assert caught.value.field == "messages[0].parts[1]"


def test_a_model_without_projector_refuses_media_with_their_place(model: LoadedModel) -> None:
    turns = (message(Role.SYSTEM, "Look."), Message(role=Role.USER, parts=(Text(text="See"), CAT)))
    with pytest.raises(InvalidArgument, match="text only") as caught:
        PromptReader(model, ChatTemplate("")).read(Conversation(messages=turns), ask=True)

    assert caught.value.field == "messages[1].parts[1]"

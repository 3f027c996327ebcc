"""A loaded model with its template and its running engine: what turns requests into the engine's jobs."""

import threading
from contextlib import ExitStack, closing
from pathlib import Path

import structlog

from inference_svc.adapters.llama_cpp.context import Context
from inference_svc.adapters.llama_cpp.engine import Engine
from inference_svc.adapters.llama_cpp.grammar_gate import GrammarGate
from inference_svc.adapters.llama_cpp.inspection import Kind, context_tokens
from inference_svc.adapters.llama_cpp.jobs import JobMaker
from inference_svc.adapters.llama_cpp.lora import Adapters
from inference_svc.adapters.llama_cpp.media import MediaReader
from inference_svc.adapters.llama_cpp.model import LoadedModel
from inference_svc.adapters.llama_cpp.options import (
    CacheOptions,
    ContextOptions,
    EngineOptions,
    ModelOptions,
    Observer,
)
from inference_svc.adapters.llama_cpp.prompt_reader import PromptReader
from inference_svc.adapters.llama_cpp.sequences import Delivery, Job
from inference_svc.adapters.llama_cpp.template import ChatTemplate
from inference_svc.adapters.llama_cpp.weights import load_weights
from inference_svc.domain.events import Finished
from inference_svc.domain.pace import thread_numbers
from inference_svc.domain.ports import Capability
from inference_svc.domain.prompt import Conversation, Prompt
from inference_svc.domain.speculation import Speculation
from threadmesh.conversation import Role, message
from threadmesh.errors import MeshError

log = structlog.get_logger()

_DEFAULT_CELLS = 16_384
_MOST_SLOTS = 256
"""What llama.cpp was built for."""
_IDLE_SLOTS = 32
_TILE = 64
"""From so many tokens a step, attention is computed in tiles on a CPU (`GGML_FA_TILE_Q`): all tokens of a tile look at
all cells that any of them may see. With tokens of several sequences that is most of the cache: a step of 8 that decode
and 56 that read took 240 ms, one of 8 and 40 took 130 ms.
"""
_GUESSES = 16
"""Most tokens that guesses add to one step."""


def serve(path: Path, options: ModelOptions, observer: Observer) -> "ServedModel":
    """Load a model and start its engine, which takes seconds. Raises `ModelFileError`, and holds no memory then."""
    model = load_weights(path, options)
    try:
        return ServedModel(model, options, observer)
    except BaseException:
        model.close()
        raise


class ServedModel:
    """A loaded model with its template, its adapters and its running engine."""

    def __init__(self, model: LoadedModel, options: ModelOptions, observer: Observer) -> None:
        self.model = model
        self._options = options
        self.fingerprint = self.model.fingerprint()
        source = options.template or model.template
        template = ChatTemplate(source, begin_text=model.begin_text, end_text=model.end_text)
        self.context_tokens = context_tokens(
            Kind.CHAT,
            wanted=options.context_tokens,
            trained=self.model.trained_tokens,
            beyond_training=options.rope_override,
        )
        with ExitStack() as opened:
            self._adapters = opened.enter_context(closing(Adapters(model, options.adapters)))
            self.media = _media(model, options)
            if self.media is not None:
                opened.enter_context(closing(self.media))
            gate = opened.enter_context(closing(GrammarGate(model.path, seconds=options.grammar_seconds)))
            self.jobs = JobMaker(
                model,
                template,
                PromptReader(model, template, media=self.media),
                gate=gate,
                context_tokens=self.context_tokens,
                usual=options.drawing,
            )
            self.engine = opened.enter_context(closing(self._engine(observer)))
            self._warm_up()
            self._opened = opened.pop_all()

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """What it can be asked for."""
        sees = self.media is not None and self.media.sees
        hears = self.media is not None and self.media.hears
        senses = ((Capability.IMAGE_INPUT, sees), (Capability.AUDIO_INPUT, hears))
        return (Capability.GENERATE, *(sense for sense, there in senses if there))

    @property
    def details(self) -> dict[str, str]:
        """What the operator may want to know of how it computes."""
        options = self._options
        return {
            "weights": self.model.form,
            "threads": f"{self.engine.threads} of {options.threads}",
            "sequences": str(options.sequences),
            "speculation": options.speculation,
            "flash_attention": options.device.flash_attention,
        }

    def _engine(self, observer: Observer) -> Engine:
        options = self._options
        most = self.context_tokens * options.sequences
        cells = max(self.context_tokens, options.cells or min(most, _DEFAULT_CELLS))
        slots = min(_MOST_SLOTS, options.sequences + _IDLE_SLOTS)
        speculation = options.speculation if self.model.reusable else Speculation.OFF
        size = ContextOptions(
            cells=cells,
            slots=slots,
            rows=max(slots, options.sequences + _GUESSES),
            batch=options.batch,
            threads=options.threads,
            device=options.device,
        )
        cache = CacheOptions(
            slots=slots, cells=cells, idle=options.idle, parked=options.parked, cuttable=self.model.reusable
        )
        engine = Engine(
            self.model,
            EngineOptions(
                sequences=options.sequences,
                batch=options.batch,
                queue=options.queue,
                threads=(options.threads,) if options.pinned else thread_numbers(options.threads),
                cache=cache,
                mixed=min(options.batch, _TILE - 1) if options.device.gpu_layers == 0 else options.batch,
                speculation=speculation,
                guesses=_GUESSES,
            ),
            context=lambda: Context(self.model, size, self._adapters),
            observer=observer,
            media=self.media,
        )
        engine.start()
        return engine

    def _warm_up(self) -> None:
        """Draw one token, so that the weights are in memory before anybody waits for them."""
        hello = Conversation(messages=(message(Role.USER, "Hello"),))
        prompt = Prompt(conversation=hello, max_tokens=1, cache_scope="warm-up")
        ended = _Ending()
        self.engine.submit(self.jobs.job(prompt, self._options.drawing, deliver=ended))
        ended.wait()

    def encode(self, job: Job) -> None:
        """Compute a job's images and sounds, so that the engine need not. Raises `Internal` if it fails."""
        for chunk in job.media.values():
            assert self.media is not None
            self.media.encode(chunk)

    def close(self) -> None:
        """Stop the engine, then free the projector, the adapters and the model."""
        self._opened.close()
        self.model.close()


def _media(model: LoadedModel, options: ModelOptions) -> MediaReader | None:
    """Open the projector; a file beside the model that looks like one is only named."""
    if options.projector is None:
        for found in sorted(model.path.parent.glob("*mmproj*.gguf")):
            log.info("model.projector_not_used", model=options.name, file=str(found), setting="INFERENCE_PROJECTOR")
        return None
    return MediaReader(
        options.projector, model, threads=options.threads, batch=options.batch, gpu=options.device.gpu_layers != 0
    )


class _Ending:
    """Waits in one thread for the end of a job that another one delivers."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._error: MeshError | None = None

    def __call__(self, deliveries: list[Delivery]) -> None:
        last = deliveries[-1]
        if isinstance(last, MeshError):
            self._error = last
        if isinstance(last, Finished | MeshError):
            self._event.set()

    def wait(self) -> None:
        self._event.wait()
        if self._error is not None:
            raise self._error

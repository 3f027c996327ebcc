"""Loading a model with its weights in the form that was asked for, or that computes best here."""

from contextlib import closing, suppress
from pathlib import Path

import structlog

from inference_svc.adapters.llama_cpp.calibrate import measure
from inference_svc.adapters.llama_cpp.choices import Choice, ChoiceFile, Machine
from inference_svc.adapters.llama_cpp.library import features
from inference_svc.adapters.llama_cpp.memory import available_bytes
from inference_svc.adapters.llama_cpp.model import LoadedModel, ModelFileError, PreparedModel, fingerprint_of
from inference_svc.adapters.llama_cpp.options import ModelOptions
from inference_svc.adapters.llama_cpp.prepared import NotPreparedError, PreparedCopies
from inference_svc.domain.weights import Form, alternative, choose

log = structlog.get_logger()

_LARGEST_BUDGET = 1024**3
_SHARE_OF_MEMORY = 4


def load_weights(path: Path, options: ModelOptions) -> LoadedModel:
    """Load a model file; weights that cannot be prepared are taken as the file has them.

    The first time this may take long: a copy is written, and forms are measured. Raises `ModelFileError` if the file
    itself cannot be used.
    """
    if options.weights.form is Form.FILE:
        return LoadedModel(path, device=options.device)
    model = _Loader(path, options).load()
    log.info("weights.loaded", model=options.name, form=model.form, megabytes=model.size.bytes // 1_000_000)
    return model


class _Loader:
    """Loads one file in another form, if that is possible and better."""

    def __init__(self, path: Path, options: ModelOptions) -> None:
        self._path, self._options = path, options
        self._fingerprint = fingerprint_of(path)
        self._copies = PreparedCopies(options.weights.directory)
        with closing(LoadedModel(path, vocabulary_only=True)) as header:
            self._size = header.size

    def load(self) -> LoadedModel:
        try:
            form = self._options.weights.form or self._best()
            if form is not Form.FILE:
                return self._prepared(form)
        except (NotPreparedError, ModelFileError) as error:
            log.warning("weights.as_in_the_file", model=self._options.name, cause=str(error))
        return LoadedModel(self._path, device=self._options.device)

    def _best(self) -> Form:
        other = alternative(
            self._size,
            in_memory=self._options.device.gpu_layers == 0,
            budget=self._options.weights.budget or min(_LARGEST_BUDGET, available_bytes() // _SHARE_OF_MEMORY),
            fast_bf16="BF16 = 1" in features(),
        )
        if other is Form.FILE:
            return other
        machine = Machine.this(threads=self._options.threads)
        choices = ChoiceFile(self._options.weights.directory, fingerprint=self._fingerprint, machine=machine)
        if choice := choices.read():
            return choice.form
        with self._copies.alone():
            choice = choices.read() or self._measured(other, machine)
            choices.write(choice)
        log.info("weights.chosen", model=self._options.name, form=choice.form, typical_ms=choice.typical_ms)
        return choice.form

    def _measured(self, other: Form, machine: Machine) -> Choice:
        """Measure another form against the file's; a copy that was made for nothing is removed."""
        target = self._copies.path(self._fingerprint, other)
        there = target.exists()
        with closing(LoadedModel(self._path)) as file, closing(self._copied(other)) as copy:
            costs = measure({Form.FILE: file, other: copy}, threads=self._options.threads)
        form = choose(costs)
        if form is Form.FILE and not there:
            target.unlink()
        typical = {each: round(cost.typical * 1000, 1) for each, cost in costs.items()}
        return Choice(machine=machine, form=form, typical_ms=typical)

    def _prepared(self, form: Form) -> LoadedModel:
        """Load a copy; only one that must be made, or made anew, has to wait for other processes."""
        if self._copies.path(self._fingerprint, form).exists():
            with suppress(ModelFileError):
                return self._opened(form)
        with self._copies.alone():
            return self._copied(form)

    def _copied(self, form: Form) -> LoadedModel:
        """Load a copy, which is made if it is not there or broken. To be done alone."""
        target = self._copies.path(self._fingerprint, form)
        if target.exists():
            try:
                return self._opened(form)
            except ModelFileError as error:
                log.warning("weights.broken", model=self._options.name, cause=error.message)
        size, threads = self._size.dequantised_bytes, self._options.threads
        self._copies.make(self._path, target, form=form, size=size, threads=threads)
        return self._opened(form)

    def _opened(self, form: Form) -> LoadedModel:
        target = self._copies.path(self._fingerprint, form)
        return PreparedModel(target, source=self._path, form=form, device=self._options.device)

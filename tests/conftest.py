import collections
import contextlib
import gc
import itertools
import os
import re
import signal
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest

# Before Keras is imported anywhere.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# No line depends on how long something takes.
os.environ.setdefault("KERASPTB_PROGRESS", "0")
# For the programs that tests start, and pytest's own processes; see there.
PROGRAMS = str(Path(__file__).with_name("programs"))
os.environ["PYTHONPATH"] = os.pathsep.join([PROGRAMS, *filter(None, [os.environ.get("PYTHONPATH")])])
# Before NumPy is: its products of small matrices would wait longer for a second thread than they take.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Of two processes beside each other, as `make test` runs, the threads of one would wait for those of the other: up to
# thirty times as long as it takes. Tests of threads name their number.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("KERASPTB_THREADS", "1")
# Before XLA is: its programs are as users have them, but optimizing their code takes longer than the tests run it.
# `.ci/run` lets XLA do so, by an empty XLA_FLAGS, where programs are compared.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

# No power is cut: what a test writes need not be on the disk. Waiting for it takes a thirtieth of the trainings' time.
os.fsync = lambda handle: None

# No assertion depends on time.
hypothesis.settings.register_profile("kerasptb", deadline=None)
hypothesis.settings.load_profile("kerasptb")

# While modules are imported and their asserts rewritten, nothing becomes garbage but much is looked through for it.
gc.disable()

# A shell that starts the tests in the background makes them ignore Ctrl-C, and their programs inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


_NATIVE = Path(__file__).with_name("native")


@pytest.hookimpl(tryfirst=True)  # before -m reads the marks
def pytest_collection_modifyitems(items):
    """Marks as slow the cases after the first of `fast_cases`; then the slow tests first, to end with short ones.

    Of these the first are those of kernels, which take minutes.
    """
    seen = collections.Counter()
    for item in items:
        if fast_cases := item.get_closest_marker("fast_cases"):
            function = item.path, item.originalname
            seen[function] += 1
            if seen[function] > fast_cases.args[0]:
                item.add_marker("slow")
    items.sort(key=lambda item: (item.get_closest_marker("slow") is None, item.path.parent != _NATIVE))


def pytest_collection_finish(session):
    """What the imports have made stays: a collection of garbage need not look at these millions of objects again."""
    gc.collect()
    gc.freeze()
    gc.enable()


# A script in a process in which nothing can be imported but some packages and what they need.
_WITH_PACKAGES_ALONE = """
import runpy, sys
from importlib import metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as name_of

waiting = sys.argv[1].split()
there = {"kerasptb"}
while waiting:
    package = name_of(waiting.pop())
    if package not in there:
        there.add(package)
        needed = [Requirement(each) for each in metadata.requires(package) or ()]
        waiting += [each.name for each in needed if not each.marker or each.marker.evaluate({"extra": ""})]
packages = metadata.packages_distributions()

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        missing = path is None and not there & {name_of(each) for each in packages.get(name, there)}
        return None if missing else self.finder.find_spec(name, path, target)

for name in [name for name in sys.modules if "." not in name]:
    if not there & {name_of(each) for each in packages.get(name, there)}:
        del sys.modules[name]
sys.meta_path[:] = map(Without, sys.meta_path)
del sys.argv[:2]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_TRAINING_PAGE = Path(__file__).parents[1] / "docs" / "training.md"


@pytest.fixture(autouse=True)
def no_start():
    """Lets trainings on a test's little texts begin with nothing, not with the model of English in the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kerasptb.training.start.MOST_BYTES", 0)
        yield patch


@pytest.fixture(scope="session")
def native_library():
    """The path of the native library, built if need be; skips where it cannot be built."""
    from kerasptb.native import build, load

    try:
        path = build.build()
    except build.NativeBuildError as error:
        pytest.skip(f"the native library cannot be built here: {error}")
    load()
    return path


@pytest.fixture(scope="session")
def skip_without(native_library):
    """A function that skips a test where this processor does not compute in a precision."""
    from kerasptb.ops import platform

    def skip(precision):
        if (reason := platform.why_not_native(precision)) is not None:
            pytest.skip(reason)

    return skip


@pytest.fixture(scope="session")
def make_run():
    """Makes a run folder with the settings of a model and little else; `parts` are further parts of its config."""
    from kerasptb.run import Run
    from kerasptb.runs.settings import RunSettings

    def make(folder, vocabulary, model, **parts):
        text = {"name": "text", "source": "made up", "digest": "0"}
        text |= {"vocabulary_size": len(vocabulary), "vocabulary_digest": vocabulary.digest}
        config = {"model": model, "training": {"preset": "notebook", "epochs": 1}, **parts}
        config["data"] = {**text, **parts.get("data", {})}
        return Run.create(folder, RunSettings.from_config(config), vocabulary)

    return make


@pytest.fixture(scope="session")
def _small_english(make_run, tmp_path_factory):
    import kerasptb
    from kerasptb.data import Subwords
    from kerasptb.export import export_run
    from kerasptb.models.weights import save_weights

    folder = tmp_path_factory.mktemp("package")
    subwords = Subwords.train(["The cat sat on the mat, and the dog sat by it.\n" * 50] * 2, 300)
    model = kerasptb.LanguageModel(
        len(subwords), 6, (6,), batch_size=4, num_steps=5, tie_embeddings=True, seed=3, tokenizer=subwords
    )
    model.compile()
    training = {"preset": "auto", "epochs": 1}
    run = make_run(folder / "run", subwords, model.get_config(), data={"tokens": "subwords"}, training=training)
    save_weights(model, run.weights_path("best"))
    return export_run(run, folder / "english")


@pytest.fixture
def small_english(_small_english, monkeypatch, no_start):
    """The folder of a model of English as it is in the package, but small, for texts of up to 10,000 bytes."""
    no_start.setattr("kerasptb.training.start.MOST_BYTES", 10_000)
    monkeypatch.setattr("kerasptb.runs.files.IN_THE_PACKAGE", _small_english)
    return _small_english


@pytest.fixture
def no_pictures():
    """Lets trainings write an empty file for the picture of their curves, which takes a sixth of a short training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kerasptb.training.recorder.plot_curves", lambda history, path: Path(path).touch())
        yield patch


@pytest.fixture
def no_figures():
    """Lets trainings end without measuring the test text, for which they compile a third of all that they do."""
    from kerasptb.evaluation import Evaluation

    figure = Evaluation(perplexity=2.0, num_words=1, batch_size=1, num_steps=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kerasptb.training.training.evaluate_both", lambda model, ids: (figure, figure))
        yield patch


@pytest.fixture
def no_steps():
    """Lets trainings go through their batches without a step: for what is around the steps, in a third of the time.

    Weights stay as they begin; the perplexity that the logs name falls from call to call.
    """
    from kerasptb.trainers import Trainer

    calls = itertools.count(1)

    def function(iterator):
        next(iterator)
        return dict.fromkeys(("loss", "perplexity"), 1.0 + 1.0 / next(calls))

    def make(trainer, force=False):
        if not trainer.optimizer.built:
            trainer.optimizer.build(trainer.trainable_variables)
        trainer.train_function = trainer.test_function = function
        return function

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "make_train_function", make)
        patch.setattr(Trainer, "make_test_function", make)
        patch.setattr(Trainer, "_get_metrics_result_or_logs", lambda trainer, logs: logs)
        yield patch


@pytest.fixture
def gpus(native_library, monkeypatch):
    """Makes Keras' backend see GPUs, each with what keeps the CUDA kernels from running there; None for nothing.

    What runs all the same is the processor's side of the same handlers.
    """
    from kerasptb.native import loader
    from kerasptb.ops import platform as platforms

    def see(*reasons):
        monkeypatch.setattr(platforms, "visible_gpus", lambda: list(range(len(reasons))))
        monkeypatch.setattr(loader, "count_gpus", lambda: len(reasons))
        monkeypatch.setattr(loader, "why_not_cuda", lambda device=0: reasons[device])

    return see


@pytest.fixture
def run_under_jax(native_library):
    """Runs a script with JAX and what docs/training.md installs with it, not TensorFlow; returns what it prints.

    Warnings are errors.
    """
    return _runner("jax")


@pytest.fixture
def run_under_torch(native_library):
    """Runs a script with PyTorch, else as `run_under_jax` does."""
    return _runner("torch")


def _runner(backend):
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    line = re.search(r"^pip install ('keras.* jax .*)$", _TRAINING_PAGE.read_text(encoding="utf-8"), re.MULTILINE)[1]
    packages = re.sub(r"'([a-z]+)[^']*'", r"\1", line).replace("jax", backend)  # without versions

    def run(script, *arguments):
        environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)}
        environment["OMP_WAIT_POLICY"] = "passive"  # other tests run beside it
        # But for the one of pyproject.toml.
        warnings = ["-W", "error", "-W", "ignore:__array__ implementation doesn't accept:DeprecationWarning"]
        command = [sys.executable, *warnings, "-c", _WITH_PACKAGES_ALONE, packages, script, *arguments]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr[-3000:]
        return result.stdout

    return run


@pytest.fixture
def room_for():
    """A context in which files may have so many bytes, as if the disk were full then."""

    @contextlib.contextmanager
    def limited(size):
        resource = pytest.importorskip("resource", reason="this system has no such limits")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture
def said_by_a_fork():
    """Calls a function, which returns bytes, in a process that is forked from this one; returns them."""

    def call(function):
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's, of threads that a fork leaves behind
            child = os.fork()
        if child == 0:
            try:
                signal.alarm(20)  # else it might wait for ever
                os.write(writing, function())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as said:
            result = said.read()
        os.waitpid(child, 0)
        return result

    return call

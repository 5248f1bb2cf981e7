import os

# Before Keras is imported anywhere.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest


@pytest.fixture(scope="session")
def native_library():
    """The path of the native library, built if need be; skips where it cannot be built."""
    from kerasptb.ops.native import build, load

    try:
        path = build.build()
    except build.NativeBuildError as error:
        pytest.skip(f"the native library cannot be built here: {error}")
    load()
    return path

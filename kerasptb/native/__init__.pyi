"""The public names; see `kerasptb/__init__.pyi`."""

from .build import NativeBuildError as NativeBuildError
from .loader import NativeUnavailableError as NativeUnavailableError
from .loader import cpu_level as cpu_level
from .loader import load as load
from .loader import status as status
from .loader import thread_count as thread_count

__all__: list[str]

"""The command line: a command a file, with its parser and a thin call into the package.

`execute(options)` returns the command's exit status, or `None` for 0. It imports TensorFlow only where it needs it.
"""

from kerasptb.cli.main import main

__all__ = ["main"]

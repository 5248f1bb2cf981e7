"""Keras' headings in docstrings, as griffe reads them: it makes the reference out of the docstrings."""

import re
import textwrap

import griffe


class KerasHeadings(griffe.Extension):
    """Turns Keras' headings into griffe's, and what a call returns into plain text, as it has no name and no type."""

    def on_object(self, *, obj, **_):
        """Changes the docstring of an object that was read."""
        if obj.docstring:
            text = obj.docstring.value.replace("Call arguments:\n", "Other Parameters: Call arguments:\n")
            text = re.sub(r"^Example:\n((?:.+\n?)+)", _example, text, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r"^(Returns|Yields):\n((?: .*\n?|\n)+)", _result, text, flags=re.MULTILINE)


def _example(found):
    return "Examples:\n" + textwrap.indent(textwrap.dedent(found[1]), "    ")


def _result(found):
    return f"**{found[1]}:**\n\n{textwrap.dedent(found[2])}"

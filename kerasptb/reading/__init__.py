"""What comes next: what a model knows after a text, the words on the keys, samples and scores."""

from kerasptb.reading.generate import generate, generate_text, sample
from kerasptb.reading.memory import Memory
from kerasptb.reading.reader import Beginning, Context, ModelReader, Reader, open_reader
from kerasptb.reading.suggest import Suggestion, suggest
from kerasptb.reading.words import NextWords, WordPieces, pieces_of, run_search, search_words
from kerasptb.reading.writer import Typed, Writer

__all__ = [
    "Beginning",
    "Context",
    "Memory",
    "ModelReader",
    "NextWords",
    "Reader",
    "Suggestion",
    "Typed",
    "WordPieces",
    "Writer",
    "generate",
    "generate_text",
    "open_reader",
    "pieces_of",
    "run_search",
    "sample",
    "search_words",
    "suggest",
]

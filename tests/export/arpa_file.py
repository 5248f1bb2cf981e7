"""A file in ARPA form, read as the form's users do."""

from pathlib import Path


class ArpaFile:
    """The n-grams of a file; `grams` has the logarithms of the probability and the backoff of each."""

    def __init__(self, path):
        head, *sections = Path(path).read_text(encoding="utf-8").split("\n\n")
        assert sections.pop() == "\\end\\\n"
        sizes = [f"ngram {n}={section.count(chr(10))}" for n, section in enumerate(sections, 1)]
        assert head.split("\n") == ["\\data\\", *sizes]
        self.grams = {}
        for n, section in enumerate(sections, 1):
            title, *lines = section.split("\n")
            assert title == f"\\{n}-grams:"
            for line in lines:
                probability, words, *backoff = line.split("\t")
                assert len(backoff) == (n < len(sections))
                self.grams[tuple(words.split(" "))] = float(probability), *map(float, backoff)
        self.order = len(sections)
        self.words = [word for (word, *more) in self.grams if not more and word != "<s>"]

    def score(self, context, word):
        """Returns the logarithm of the probability of a word after others (Katz, 1987)."""
        context = tuple(context)[-self.order + 1 :]
        if (*context, word) in self.grams:
            return self.grams[*context, word][0]
        return self.grams.get(context, (0, 0))[1] + self.score(context[1:], word)

    def score_sentence(self, words):
        """Returns the logarithm of the probability of a sentence, its end among them."""
        known = ["<s>", *(word if (word,) in self.grams else "<unk>" for word in words), "</s>"]
        return sum(self.score(known[:i], known[i]) for i in range(1, len(known)))

"""A search around a recipe: what its trials have in common, planned as a training of the text is."""

import dataclasses
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

from kerasptb.arguments import BatchArguments
from kerasptb.data import Corpus
from kerasptb.data.text_format import USUAL, TextFormat, open_tokenizer
from kerasptb.runs.request import Request
from kerasptb.runs.settings import NO_START
from kerasptb.training.budget import fit_training
from kerasptb.training.planning import check_texts
from kerasptb.tuning.search_space import LanguageModelSpace, count_parameters
from kerasptb.utils import children
from kerasptb.utils.processors import available_processors


def request_of(data, record):
    """Returns the request of the training that a search is around, so that it is planned as one."""
    is_read = record.get("text") is not None and isinstance(data, Corpus)
    names = ("tokens", "vocabulary_size", "keep_lines")
    format = TextFormat(tokenizer=open_tokenizer(record["tokenizer"]), **{name: record[name] for name in names})
    length = {"epochs": record["epochs"]} if record["minutes"] is None else {"minutes": record["minutes"]}
    training = {"preset": record["preset"], "start_from": record["start_from"], **length}
    return Request(
        data=data,
        format=USUAL if is_read else format,
        model={name: record[name] for name in ("backend", "precision", "seed") if record[name] is not None},
        batches=BatchArguments.asked(steps_per_epoch=record["steps_per_epoch"]),
        training={name: value for name, value in training.items() if value is not None},
    )


def around_recipe(draft, record, named, workers):
    """Returns the space around the training that was drafted, and records what its trials have in common."""
    if not {"epochs", "minutes"} & named.keys():
        most = int(min(record["epochs"], draft.with_recipe(draft.facts)[1].most_passes))
        training = {**draft.request.training, "epochs": most}
        draft = dataclasses.replace(draft, request=dataclasses.replace(draft.request, training=training))
    settings = lay_out(draft, workers)
    training = settings.training
    record |= {
        "preset": training.preset,
        "start_from": training.start_from or NO_START,
        "tokens": draft.start.format.tokens,
        "epochs": training.epochs,
        "parts": settings.batches.parts,
        "precision": settings.model.precision,
    }
    if "max_parameters" not in named:
        record["max_parameters"] = max(record["max_parameters"], count_parameters(**settings.model.as_dict()))
    return LanguageModelSpace.around_training(settings)


def lay_out(draft, workers):
    """Returns the `RunSettings` of the training that was drafted; minutes are timed in all workers at once."""
    if draft.request.training.get("minutes") is None or workers is None:
        return _fit(draft)
    variables = children.thread_variables(max(available_processors() // workers, 1))
    with (
        children.environment({"TF_FORCE_GPU_ALLOW_GROWTH": "true", **variables}),
        ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), children.write_to, (os.devnull,)) as pool,
    ):
        fitted = [pool.submit(_fit, draft) for _ in range(workers)]
        return min((each.result() for each in fitted), key=lambda each: each.training.epochs / each.batches.parts)


def _fit(draft):
    """Returns the `RunSettings` of the training that was drafted, whose minutes are filled in this process."""
    minutes = draft.request.training.get("minutes")
    if minutes is None:
        return fit_training(draft.corpus, draft.with_recipe, draft.facts)[0]
    model = draft.with_recipe(draft.facts)[0].model
    check_texts(draft.corpus, model.batch_size, model.num_steps)
    return fit_training(draft.corpus, draft.with_recipe, draft.facts, lambda: 60 * minutes)[0]  # timing is no trial's

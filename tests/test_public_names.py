"""The public names, which stay: what no list here has is the package's own, and may change with any version."""

import importlib
import inspect

import pytest

# `kerasptb` offers rooms too. A room that it does not name, such as `kerasptb.cells`, is the package's own.
PUBLIC = {
    "kerasptb": """
        Corpus DataError LanguageModel NativeUnavailableError Run RunError TrainingDivergedError Vocabulary accelerate
        build_language_model correct evaluate_perplexity explain export_arpa export_c export_keyboard export_litert
        export_onnx export_page export_run export_saved_model export_sherpa_onnx freeze generate load_corpus load_frozen
        load_reader load_run load_saved_model make_dataset ptb_iterator ptb_raw_data suggest train""",
    "callbacks": """
        AveragedWeights Checkpoint EarlyStopping LearningRateDecay ReduceLROnPlateau ResetStates StopOnDivergence
        TrainingDivergedError WordsPerSecond""",
    "conversion": "export_litert export_onnx export_saved_model export_sherpa_onnx freeze",
    "data": """
        EOS UNK Corpus DataError Source Subwords Tokenizer UnknownWordError Vocabulary load_corpus ptb_iterator
        ptb_raw_data tokenize""",
    "dynamic_evaluation": "DynamicSettings evaluate_dynamic gradient_statistics tune_dynamic",
    "engine": "Network entropies open_network",
    "evaluation": """
        AdaptedEvaluation CacheSettings Evaluation Hypothesis MinimalPair PairsAccuracy PairsEvaluation SentenceScore
        Share TextEvaluation Tuning Weights evaluate_continuous_cache evaluate_pairs evaluate_text read_pairs
        score_document score_sentences tune_continuous_cache tune_weights word_errors""",
    "export": "export_arpa export_c export_keyboard export_page export_run",
    "frozen": "FrozenNetwork Graph load_frozen",
    "keyboard": """
        Confusions Correction Errors Keyboard KeyboardEvaluation Layout Memory Simulator TypingEvaluation Typist Writer
        apply_corrections correct evaluate_keyboard evaluate_typos load_layout suggest""",
    "layers": """
        Dense Dropout Embedding FusedGRU FusedLSTM FusedRNN RecurrentCell StatefulLSTM StatefulRNN TiedDense""",
    "losses": "SequenceCrossEntropy SparseCategoricalCrossentropy",
    "metrics": "Perplexity",
    "models": "LanguageModel build_language_model evaluate_perplexity",
    "ops": "gru linear_cross_entropy lstm",
    "optimizers": "ClippedAdamW ClippedSGD OneCycle",
    "presets": "PRESETS Facts Recipe get_preset",
    "reading": """
        Context CountedReader Reader Suggestion generate generate_text load_saved_model run_search suggest""",
    "regularizers": "ActivationRegularization TemporalActivationRegularization",
    "runs": "RunError RunFolder load_reader",
    "training": "train",
    "tuning": "LanguageModelSpace SearchError SearchResult WorkersFailedError tune",
}


@pytest.mark.parametrize("room", PUBLIC)
def test_a_room_offers_what_stays_and_no_more(room):
    module = importlib.import_module("kerasptb" if room == "kerasptb" else f"kerasptb.{room}")
    rooms = set(PUBLIC) - {"kerasptb"} if room == "kerasptb" else set()
    assert set(module.__all__) == {*PUBLIC[room].split(), *rooms}
    for name in PUBLIC[room].split():
        found = getattr(module, name)
        assert not callable(found) or inspect.getdoc(found), name

from small_exports import loaded, model, saved_model, subword_exports, subword_model, subwords, targets, vocabulary

__all__ = ["loaded", "model", "saved_model", "subword_exports", "subword_model", "subwords", "targets", "vocabulary"]

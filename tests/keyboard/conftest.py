from small_readers import counted, japanese, model, reader, saved_model, spelled, subworded, texts, vocabulary

__all__ = ["counted", "japanese", "model", "reader", "saved_model", "spelled", "subworded", "texts", "vocabulary"]

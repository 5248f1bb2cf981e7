from small_readers import japanese, model, reader, saved_model, spelled, subworded, texts, vocabulary

__all__ = ["japanese", "model", "reader", "saved_model", "spelled", "subworded", "texts", "vocabulary"]

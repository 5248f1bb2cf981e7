from small_readers import model, reader, saved_model, spelled, subworded, texts, vocabulary

__all__ = ["model", "reader", "saved_model", "spelled", "subworded", "texts", "vocabulary"]

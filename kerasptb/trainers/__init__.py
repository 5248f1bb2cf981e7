"""What Keras' trainer lacks for stateful batches."""

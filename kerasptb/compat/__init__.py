"""The private names of Keras and TensorFlow that this package needs, each once, with why no public one serves.

`tests/compat` checks that all of them exist with the signatures used here, so an update of Keras fails there first.
"""

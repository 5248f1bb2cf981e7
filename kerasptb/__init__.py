"""The Penn Treebank language-model pipeline for Keras."""

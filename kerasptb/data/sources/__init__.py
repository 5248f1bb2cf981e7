"""Where a text comes from: files, folders, archives, the Penn Treebank, the sample."""

"""Measurements of speed and memory; a package, since pyarrow brings one of this name, too."""

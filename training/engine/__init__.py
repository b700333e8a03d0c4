"""Keras and NumPy only: usable from a notebook, without Django.

Importing this package imports neither Keras nor TensorFlow; what needs them imports them.
"""

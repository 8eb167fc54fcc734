"""Every figure of a page, in one style: :mod:`~spinsim.pages.figures.canvas`.

Figures are inline SVG. They take numbers and names, and know nothing of files. A new figure is a function in
the module of what it is about: a run, a study, a validation.
"""

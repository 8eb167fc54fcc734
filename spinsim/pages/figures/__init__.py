"""Every figure of a page, in one style.

Figures are inline SVG. They take numbers and names, and know nothing of files. A new figure is a function in
the module of what it is about: a run, a study, a validation. Those of a run stand on the panels of
:mod:`~spinsim.pages.figures.chart`, which need nothing else; the others, which have labels to lay out, on
:mod:`~spinsim.pages.figures.canvas`, which needs matplotlib.
"""

"""Everything that a person looks at: HTML pages, figures, and tables of the terminal.

May import results, lab and studies' result types. A page for a new kind of result is a module here, which
gathers what the page shows, and a file of ``templates/``, which says how; its figures are in ``figures/``.
"""

"""Everything that a person looks at: HTML reports, figures, and tables of the terminal.

May import results, lab and studies' result types. A page for a new kind of result is a module here.
"""

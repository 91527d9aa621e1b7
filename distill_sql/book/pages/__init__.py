"""What each chapter computes and shows, a module per chapter.

A function takes datasets, reports or runs, and returns records or what to show
(:mod:`distill_sql.book.shown`). A chapter calls it in a line or two.
"""

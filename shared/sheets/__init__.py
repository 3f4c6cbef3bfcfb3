"""Tables as people have them: CSV, workbooks, pasted screens and forwarded mails, read and written.

Reading never guesses silently: what was assumed is noted, and what cannot be read names its line
and column. Nothing here knows what a column means.
"""

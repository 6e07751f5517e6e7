"""Stage *labels*: stores answers, and drafts the table of labels."""

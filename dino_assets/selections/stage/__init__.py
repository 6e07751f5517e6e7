"""Stage *selections*: opens, drafts, checks, lists and describes rounds in the store."""

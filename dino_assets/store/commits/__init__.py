"""The commit protocol, by which an output in the store is either complete or absent.

``protocol.py`` defines its records (recipe, part, receipt, manifest). ``manifests.py`` shows their keys.
"""

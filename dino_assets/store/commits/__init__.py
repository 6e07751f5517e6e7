"""The commit protocol: recipes, parts, receipts, manifests, tables."""

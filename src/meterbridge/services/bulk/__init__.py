"""Sealing millions of receipts at once: columns from end to end, no object per receipt."""

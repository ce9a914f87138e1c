"""Everything AWS: the DynamoDB storage and the Lambda entry.

Builds on `sltt_core`, never the reverse.
"""

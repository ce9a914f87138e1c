"""The entry of the Lambda function: `aws_backend.lambda_handler.handler`.

Importing it does the cold work once, in the init phase: settings, credentials, and the connection to DynamoDB.
"""

from __future__ import annotations

import os

from aws_backend.function.settings import function_of

handler = function_of(os.environ)
"""Answers an event of API Gateway or of a function URL (`aws_backend.function.function.Function`)."""

"""The entry point of the Lambda function: `aws_backend.lambda_handler.handler`.

Importing it does the expensive work in Lambda's init phase: settings, credentials, and the connection to DynamoDB.
"""

from __future__ import annotations

import os

from aws_backend.function.settings import function_of

handler = function_of(os.environ)
"""Returns the response to an event of API Gateway or a function URL (`aws_backend.function.function.Function`)."""

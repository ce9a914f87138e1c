"""The programs whose cold start is measured: each puts one change into a table."""

from __future__ import annotations

from typing import NamedTuple

EVENT = {
    "version": "2.0",
    "routeKey": "$default",
    "rawPath": "/api/changes",
    "rawQueryString": "",
    "headers": {"content-type": "application/json", "host": "bench.lambda-url.eu-west-1.on.aws"},
    "requestContext": {
        "accountId": "123456789012",
        "apiId": "bench",
        "domainName": "bench.lambda-url.eu-west-1.on.aws",
        "domainPrefix": "bench",
        "http": {"method": "POST", "path": "/api/changes", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
        "requestId": "bench",
        "stage": "$default",
        "time": "12/Mar/2020:19:03:58 +0000",
        "timeEpoch": 1583348638390,
    },
    "body": '{"projectId": "bench", "entityType": "passage", "entityId": "ruth-1", "data": {"title": "Famine"}}',
    "isBase64Encoded": False,
}
"""An append, through a function URL."""

CONTEXT = """
class Context:
    aws_request_id = function_name = invoked_function_arn = "bench"
    memory_limit_in_mb = 128
    def get_remaining_time_in_millis(self):
        return 30_000
"""

CLIENT = """
import boto3, botocore.httpsession
if ROOTS:
    botocore.httpsession.where = lambda: ROOTS
table = boto3.client("dynamodb", region_name="eu-west-1", endpoint_url=ENDPOINT)
def put():
    return table.put_item(TableName=TABLE, Item={"pk": {"S": "bench"}, "seq": {"N": "1"}, "data": {"S": "{}"}})
"""


class Program(NamedTuple):
    """A program to run."""

    text: str
    """Python code, with the names ENDPOINT, TABLE, ROOTS (a file, or empty) and EVENT."""
    packages: tuple[str, ...] = ()
    """The packages that its zip would need."""


def _framework(app: str) -> str:
    return f"""{CLIENT}{CONTEXT}
{app}
from mangum import Mangum
response = Mangum(app, lifespan="off")(EVENT, Context())
assert response["statusCode"] == 200, response
"""


BARE = "bare interpreter"
FLOOR = "ssl + Amazon's roots"
OURS = "ours"
PROGRAMS = {
    BARE: Program(""),
    FLOOR: Program(
        """
import ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.load_verify_locations(AMAZON_ROOTS)
"""
    ),
    OURS: Program(
        f"""{CONTEXT}
import os, sys
sys.path.insert(0, CODE)
os.environ.update(DYNAMODB_TABLE=LOG, DYNAMODB_ENDPOINT=ENDPOINT)
from aws_backend.lambda_handler import handler
response = handler(EVENT, Context())
assert response["statusCode"] == 200, response
"""
    ),
    "boto3": Program(f"{CLIENT}put()", ("boto3",)),
    "aiodynamo + httpx": Program(
        """
import asyncio, httpx, ssl
from aiodynamo.client import Client
from aiodynamo.credentials import Key, StaticCredentials
from aiodynamo.http.httpx import HTTPX
from yarl import URL
async def put():
    verify = ssl.create_default_context(cafile=ROOTS) if ROOTS else True
    async with httpx.AsyncClient(verify=verify) as http:
        client = Client(HTTPX(http), StaticCredentials(Key("bench", "bench")), "eu-west-1", URL(ENDPOINT))
        await client.table(TABLE).put_item({"pk": "bench", "seq": 1, "data": "{}"})
asyncio.run(put())
""",
        ("aiodynamo", "httpx"),
    ),
    "pynamodb": Program(
        """
import botocore.httpsession
if ROOTS:
    botocore.httpsession.where = lambda: ROOTS
from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.models import Model
class Change(Model):
    class Meta:
        table_name = TABLE
        region = "eu-west-1"
        host = ENDPOINT
    pk = UnicodeAttribute(hash_key=True)
    seq = NumberAttribute(range_key=True)
    data = UnicodeAttribute()
Change("bench", 1, data="{}").save()
""",
        ("pynamodb",),
    ),
    "Powertools + boto3": Program(
        f"""{CLIENT}{CONTEXT}
from aws_lambda_powertools.event_handler import LambdaFunctionUrlResolver
app = LambdaFunctionUrlResolver()
@app.post("/api/changes")
def append():
    return {{"created": len([put()])}}
response = app.resolve(EVENT, Context())
assert response["statusCode"] == 200, response
""",
        ("aws-lambda-powertools", "boto3"),
    ),
    "Starlette + Mangum + boto3": Program(
        _framework(
            """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
async def append(request):
    await request.json()
    return JSONResponse({"created": len([put()])})
app = Starlette(routes=[Route("/api/changes", append, methods=["POST"])])
"""
        ),
        ("starlette", "mangum", "boto3"),
    ),
    "FastAPI + Mangum + boto3": Program(
        _framework(
            """
from fastapi import FastAPI
from pydantic import BaseModel
app = FastAPI()
class Change(BaseModel):
    projectId: str
    entityType: str
    entityId: str
    data: dict
@app.post("/api/changes")
def append(change: Change):
    return {"created": len([put()])}
"""
        ),
        ("fastapi", "mangum", "boto3"),
    ),
}

NOTHING = """
def handler(event, context):
    return {"statusCode": 200}
"""
"""A handler that does nothing, for the cost of AWS's runtime client alone."""

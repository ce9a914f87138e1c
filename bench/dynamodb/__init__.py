"""The log on DynamoDB: calls, costs, pages, and writers that conflict."""

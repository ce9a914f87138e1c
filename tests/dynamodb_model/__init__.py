"""A model of DynamoDB in memory. The simulation and the contract suite of the storages run on it."""

"""A model of DynamoDB in memory: what the simulation runs on, and a storage of the contract suite."""

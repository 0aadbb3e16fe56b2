"""The guard of a MODEL that carries a contract: what is about to be sampled with it is compared, whoever samples."""

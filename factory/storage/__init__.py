"""Object stores: a local folder and S3, behind the protocol of `protocol.py`."""

from swift_server import moved, s3, s3_server, s3_store, store  # noqa: F401

"""Makes the buckets of the s3:// addresses it is given, where they do not exist. Addresses and keys as boto3 reads them."""

import sys
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 10}))
for bucket in sorted({urlsplit(address).netloc for address in sys.argv[1:]}):
    try:
        s3.head_bucket(Bucket=bucket)
        print(f"{bucket}: there")
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        s3.create_bucket(Bucket=bucket)
        print(f"{bucket}: made")

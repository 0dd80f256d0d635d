"""Starts the local AWS as AWS behaves where it does not: groups of a FIFO queue are worked on side by side, as many
as MaximumConcurrency says."""

import ministack.services.lambda_svc as lambda_service

plain = lambda_service._sqs_esm_concurrency


def side_by_side(mapping, function, configuration, queue=None):
    if (queue or {}).get("is_fifo"):
        return int((mapping.get("ScalingConfig") or {}).get("MaximumConcurrency") or 5)
    return plain(mapping, function, configuration, queue)


lambda_service._sqs_esm_concurrency = side_by_side

from ministack.app import main  # noqa: E402

main()

"""What an operator does by hand, through AWS's own client: by_hand.py COMMAND [ARGUMENT...]."""

import json
import sys

import boto3

command, arguments = sys.argv[1], sys.argv[2:]
if command == "list-functions":
    for function in boto3.client("lambda").list_functions()["Functions"]:
        print(function["FunctionName"])
elif command == "invoke":
    boto3.client("lambda").invoke(FunctionName=arguments[0], InvocationType="Event", Payload=b"{}")
elif command == "policies":
    # The statements of each function's role, as deployed.
    iam = boto3.client("iam")
    policies = {}
    for function in boto3.client("lambda").list_functions()["Functions"]:
        role = function["Role"].rsplit("/", 1)[1]
        statements = []
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            statements += iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]["Statement"]
        policies[function["FunctionName"]] = statements
    print(json.dumps(policies))
elif command == "send":
    boto3.client("sqs").send_message(QueueUrl=arguments[0], MessageBody=arguments[1], MessageGroupId=arguments[2],
                                     MessageDeduplicationId=arguments[3])
elif command == "rotate":
    secrets = boto3.client("secretsmanager")
    secrets.put_secret_value(SecretId=arguments[0], SecretString=arguments[1])
elif command == "logs":
    logs = boto3.client("logs")
    for group in logs.describe_log_groups()["logGroups"]:
        for event in logs.filter_log_events(logGroupName=group["logGroupName"], limit=2000)["events"]:
            print(group["logGroupName"].rsplit("/", 1)[1], event["message"].rstrip())
elif command == "alerts":
    sqs, sns = boto3.client("sqs"), boto3.client("sns")
    queue = sqs.create_queue(QueueName="alerts")["QueueUrl"]
    if arguments:
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=arguments[0], Protocol="sqs", Endpoint=arn)
    else:
        for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            print(json.loads(message["Body"])["Message"])
else:
    sys.exit("unknown command " + command)

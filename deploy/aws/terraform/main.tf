# What Fanfare's nodes need with backend = "aws". The same as `fanfare aws provision` makes; a test compares them.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

data "aws_caller_identity" "here" {}
data "aws_partition" "here" {}
data "aws_region" "here" {}

locals {
  tags = { "fanfare:env" = var.env }

  # What stands in the policies' files.
  names = {
    partition      = data.aws_partition.here.partition
    region         = data.aws_region.here.name
    account        = data.aws_caller_identity.here.account_id
    sessions_table = "${var.env}-sqs-browser-sessions"
    messages_table = "${var.env}-sqs-browser-messages"
    leases_table   = "${var.env}-fanfare-leases"
    queue_prefix   = "${var.env}-fanfare"
    stream         = "${var.env}-sqs-browser-event-dispatcher"
    identity_pool  = aws_cognito_identity_pool.sessions.id
    identity       = "$${cognito-identity.amazonaws.com:sub}"
    iot_client_id  = "fanfare-"
    session_role   = "arn:${data.aws_partition.here.partition}:iam::${data.aws_caller_identity.here.account_id}:role/${var.env}-fanfare-session"
  }
}

resource "aws_dynamodb_table" "sessions" {
  name         = "${var.env}-sqs-browser-sessions"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "userId"
  range_key    = "sessionId"
  tags         = local.tags

  attribute {
    name = "userId"
    type = "N"
  }
  attribute {
    name = "sessionId"
    type = "S"
  }
  attribute {
    name = "accountId"
    type = "N"
  }
  attribute {
    name = "lookup"
    type = "S"
  }
  global_secondary_index {
    name            = "${var.env}-sqs-browser-sessions-gsi-account"
    hash_key        = "accountId"
    projection_type = "ALL"
  }
  global_secondary_index {
    name            = "${var.env}-sqs-browser-sessions-gsi-session"
    hash_key        = "lookup"
    projection_type = "KEYS_ONLY"
  }
  ttl {
    attribute_name = "ttl"
    enabled        = true
  }
}

resource "aws_dynamodb_table" "messages" {
  name         = "${var.env}-sqs-browser-messages"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "userId"
  range_key    = "messageId"
  tags         = local.tags

  attribute {
    name = "userId"
    type = "N"
  }
  attribute {
    name = "messageId"
    type = "S"
  }
  ttl {
    attribute_name = "ttl"
    enabled        = true
  }
}

resource "aws_dynamodb_table" "leases" {
  name         = "${var.env}-fanfare-leases"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "stream"
  range_key    = "lease"
  tags         = local.tags

  attribute {
    name = "stream"
    type = "S"
  }
  attribute {
    name = "lease"
    type = "S"
  }
}

resource "aws_kinesis_stream" "stream" {
  name        = "${var.env}-sqs-browser-event-dispatcher"
  shard_count = var.shards
  tags        = local.tags
}

resource "aws_iam_role" "session" {
  name                 = "${var.env}-fanfare-session"
  description          = "Fanfare makes its sessions' keys of this role"
  max_session_duration = var.key_lifetime
  tags                 = local.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = "arn:${data.aws_partition.here.partition}:iam::${data.aws_caller_identity.here.account_id}:root" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "queues" {
  name   = "queues"
  role   = aws_iam_role.session.id
  policy = templatefile("${path.module}/../policies/session.json", local.names)
}

resource "aws_cognito_identity_pool" "sessions" {
  identity_pool_name               = "${var.env}-fanfare"
  allow_unauthenticated_identities = false
  developer_provider_name          = "${var.env}.fanfare"
  tags                             = local.tags
}

resource "aws_iam_role" "identity" {
  name                 = "${var.env}-fanfare-identity"
  description          = "Fanfare makes its sessions' keys of this role"
  max_session_duration = 3600
  tags                 = local.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = "cognito-identity.amazonaws.com" }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals             = { "cognito-identity.amazonaws.com:aud" = aws_cognito_identity_pool.sessions.id }
        "ForAnyValue:StringLike" = { "cognito-identity.amazonaws.com:amr" = "authenticated" }
      }
    }]
  })
}

resource "aws_iam_role_policy" "own_queue" {
  name   = "queues"
  role   = aws_iam_role.identity.id
  policy = templatefile("${path.module}/../policies/identity.json", local.names)
}

resource "aws_cognito_identity_pool_roles_attachment" "sessions" {
  identity_pool_id = aws_cognito_identity_pool.sessions.id
  roles            = { authenticated = aws_iam_role.identity.arn }
}

resource "aws_iam_policy" "node" {
  name        = "${var.env}-fanfare-node"
  description = "What a node of Fanfare does: attach it to whoever runs one"
  policy      = templatefile("${path.module}/../policies/node.json", local.names)
  tags        = local.tags
}

resource "aws_iam_role" "node" {
  name        = "${var.env}-fanfare-node"
  description = "What Fanfare's tasks on ECS run as"
  tags        = local.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "node" {
  role       = aws_iam_role.node.name
  policy_arn = aws_iam_policy.node.arn
}

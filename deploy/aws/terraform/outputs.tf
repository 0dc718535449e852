output "session_role_arn" {
  description = "The setting aws.session_role"
  value       = aws_iam_role.session.arn
}

output "identity_pool" {
  description = "The setting aws.identity_pool, with aws.session_keys = \"cognito\""
  value       = aws_cognito_identity_pool.sessions.id
}

output "node_role_arn" {
  description = "taskRoleArn of the task definition"
  value       = aws_iam_role.node.arn
}

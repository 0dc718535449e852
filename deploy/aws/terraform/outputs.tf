output "session_role_arn" {
  description = "The setting aws.session_role"
  value       = aws_iam_role.session.arn
}

output "node_role_arn" {
  description = "taskRoleArn of the task definition"
  value       = aws_iam_role.node.arn
}

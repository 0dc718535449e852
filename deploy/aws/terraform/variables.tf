variable "env" {
  description = "The setting env, which all names start with"
  type        = string
  default     = "prod"

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,16}$", var.env))
    error_message = "1 to 16 letters, digits, hyphens and underscores."
  }
}

variable "shards" {
  description = "The setting kinesis.shards"
  type        = number
  default     = 1
}

variable "key_lifetime" {
  description = "The setting sessions.key_lifetime in seconds, or more"
  type        = number
  default     = 14400
}

variable "organization_url" {
  description = "The organization's address, https://example.okta.com, without -admin."
  type        = string
}

variable "public_jwk" {
  description = "The public half of the connector's key as JSON: what `apono-connector key jwk FILE` prints."
  type        = string

  validation {
    condition     = can(jsondecode(var.public_jwk).kid) && !can(jsondecode(var.public_jwk).d)
    error_message = "Give the public half of the key, with its kid. The private half belongs on the connector's host only."
  }
}

variable "app_label" {
  description = "The name of the application, the role and the resource set."
  type        = string
  default     = "Apono Connector"
}

variable "access" {
  description = "Whether the connector gives and takes memberships, or only reads the directory."
  type        = bool
  default     = true
}

variable "group_ids" {
  description = "Ids of the groups that the connector reaches; every group, where there are none."
  type        = set(string)
  default     = []
}

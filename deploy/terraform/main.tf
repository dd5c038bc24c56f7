# What the connector needs in an Okta organization, and nothing else: an application that proves itself by a key, two
# scopes, and a custom admin role that is limited to a resource set. The private key is not here; it never leaves the
# connector's host.

locals {
  origin = trimsuffix(var.organization_url, "/")
  jwk    = jsondecode(var.public_jwk)

  scopes = [
    "okta.users.read",
    var.access ? "okta.groups.manage" : "okta.groups.read",
  ]

  permissions = concat(
    ["okta.users.read", "okta.groups.read"],
    var.access ? ["okta.groups.members.manage", "okta.users.groupMembership.manage"] : [],
  )

  groups = length(var.group_ids) == 0 ? ["${local.origin}/api/v1/groups"] : [
    for id in var.group_ids : "${local.origin}/api/v1/groups/${id}"
  ]
}

resource "okta_app_oauth" "connector" {
  label                      = var.app_label
  type                       = "service"
  grant_types                = ["client_credentials"]
  response_types             = ["token"]
  token_endpoint_auth_method = "private_key_jwt"

  jwks {
    kty = local.jwk.kty
    kid = local.jwk.kid
    n   = try(local.jwk.n, null)
    e   = try(local.jwk.e, null)
    x   = try(local.jwk.x, null)
    y   = try(local.jwk.y, null)
  }
}

resource "okta_app_oauth_api_scope" "connector" {
  app_id = okta_app_oauth.connector.id
  issuer = local.origin
  scopes = local.scopes
}

resource "okta_admin_role_custom" "connector" {
  label       = var.app_label
  description = "What the Apono connector may do, and nothing else"
  permissions = local.permissions
}

resource "okta_resource_set" "connector" {
  label       = var.app_label
  description = "What the Apono connector reaches"
  resources   = concat(["${local.origin}/api/v1/users"], local.groups)
}

resource "okta_app_oauth_role_assignment" "connector" {
  client_id    = okta_app_oauth.connector.client_id
  type         = "CUSTOM"
  role         = okta_admin_role_custom.connector.id
  resource_set = okta_resource_set.connector.id
}

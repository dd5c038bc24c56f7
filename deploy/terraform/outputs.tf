output "client_id" {
  description = "For `apono-connector okta setup --client-id`."
  value       = okta_app_oauth.connector.client_id
}

output "organization_domain" {
  description = "The organization's host name."
  value       = trimprefix(local.origin, "https://")
}

# Where the provider finds the organization and proves itself is not said here, but in its environment: OKTA_ORG_NAME and
# OKTA_BASE_URL (example and okta.com), and either OKTA_API_TOKEN (of a Super Administrator) or an application of Terraform's
# own: OKTA_API_CLIENT_ID, OKTA_API_PRIVATE_KEY, OKTA_API_PRIVATE_KEY_ID and OKTA_API_SCOPES. See docs/okta-setup.md.
terraform {
  required_version = ">= 1.3"

  required_providers {
    okta = {
      source  = "okta/okta"
      version = ">= 4.8"
    }
  }
}

# All that the namespace operator may do in OpenBao. It hands out access to secrets
# and can itself read none, nor delete one.
#
# Whoever writes policies and roles decides who reads what, and OpenBao cannot bound
# the text of a policy. What bounds it: names that begin with Aether's prefixes, and
# roles for one service account alone, which in a cluster only the operator acts as.
#
# Where Kubernetes authentication or the KV engine are mounted elsewhere, write those
# mounts instead of "kubernetes" and "secret".

# What each tenant's namespaces may read: a policy a tenant, and one more where they
# may create secrets.
path "sys/policies/acl/aether-tenant-*" {
  capabilities = ["create", "read", "update", "delete"]
}

# Policies of tenants that are no more are found by their names.
path "sys/policies/acl" {
  capabilities = ["list"]
}

# Who logs in as a namespace: a role each, for the service account there that fetches
# its secrets, with tokens that are short-lived and have tenants' policies only.
path "auth/kubernetes/role/aether-ns-*" {
  capabilities = ["create", "read", "update", "delete"]
  allowed_parameters = {
    "bound_service_account_names"      = ["aether-secret-sync"]
    "bound_service_account_namespaces" = []
    "audience"                         = []
    "alias_name_source"                = ["serviceaccount_uid"]
    "token_policies"                   = ["aether-tenant-*"]
    "token_no_default_policy"          = [true]
    "token_type"                       = ["batch"]
    "token_ttl"                        = []
    "token_max_ttl"                    = []
    "token_explicit_max_ttl"           = []
    "token_period"                     = []
    "token_num_uses"                   = []
    "token_bound_cidrs"                = []
  }
}

# As with policies: roles of namespaces that are no more.
path "auth/kubernetes/role" {
  capabilities = ["list"]
}

# Which tenant a path belongs to is noted in the custom metadata of the key named like
# the path. Nothing else of a key can be set, such as how many versions are kept or
# when they end; no key is deleted; values are under secret/data, which no rule names.
# Without "update" a note is added to and never replaced.
path "secret/metadata/*" {
  capabilities       = ["create", "read", "patch"]
  allowed_parameters = {
    "custom_metadata" = []
  }
}

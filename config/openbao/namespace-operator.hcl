# All that the namespace operator may do in OpenBao. It hands out access to secrets
# and can itself read none: no rule names the mount that they are in.

# What each tenant's namespaces may read: one policy a tenant.
path "sys/policies/acl/aether-tenant-*" {
  capabilities = ["create", "read", "update", "delete"]
}

# Policies of tenants that are no more are found by their names.
path "sys/policies/acl" {
  capabilities = ["list"]
}

# Who logs in as a namespace: one role each, bound to the one service account there
# that fetches its secrets.
path "auth/kubernetes/role/aether-ns-*" {
  capabilities = ["create", "read", "update", "delete"]
}

# As with policies: roles of namespaces that are no more.
path "auth/kubernetes/role" {
  capabilities = ["list"]
}

# Its own token, which comes without OpenBao's default policy: when it ends,
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

# how it is kept until then,
path "auth/token/renew-self" {
  capabilities = ["update"]
}

# and how it is given up when the operator stops.
path "auth/token/revoke-self" {
  capabilities = ["update"]
}

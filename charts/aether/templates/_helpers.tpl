{{/* Labels of everything in the release. */}}
{{- define "aether.labels" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
app.kubernetes.io/part-of: aether
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Labels that select a program's Pods: (list . "namespace-operator"). */}}
{{- define "aether.selector" -}}
app.kubernetes.io/name: {{ index . 1 }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
{{- end }}

{{/* An image: (list . "namespace-operator"). */}}
{{- define "aether.image" -}}
{{- $ := index . 0 -}}
{{ $.Values.image.registry }}/{{ index . 1 }}:{{ $.Values.image.tag | default $.Chart.AppVersion }}
{{- end }}

{{/* What the Pods of all programs have in common, so that they pass the profile "restricted". */}}
{{- define "aether.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "aether.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/*
Objects of files that `make generate` copies into the chart:
(dict "root" . "files" "files/crds/*.yaml" "keep" true). What is kept stays in the
cluster when the release goes.
*/}}
{{- define "aether.objects" -}}
{{- $root := .root }}
{{- $keep := .keep }}
{{- range $path, $_ := .root.Files.Glob .files }}
{{- range $document := splitList "\n---\n" ($root.Files.Get $path) }}
{{- $object := fromYaml $document }}
{{- if $object.kind }}
{{- $labels := merge (fromYaml (include "aether.labels" $root)) ($object.metadata.labels | default dict) }}
{{- $annotations := $object.metadata.annotations | default dict }}
{{- if $keep }}
{{- $annotations = merge (dict "helm.sh/resource-policy" "keep") $annotations }}
{{- end }}
{{- $_ := set $object.metadata "labels" $labels }}
{{- if $annotations }}
{{- $_ := set $object.metadata "annotations" $annotations }}
{{- end }}
---
{{ toYaml $object }}
{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What only holds in one place is refused elsewhere. */}}
{{- define "aether.check" -}}
{{- if ne .Release.Namespace "aether-system" }}
{{- fail (printf "Aether's policies know its operator as a ServiceAccount of the namespace aether-system, not of %s: helm install %s … --namespace aether-system --create-namespace" .Release.Namespace .Release.Name) }}
{{- end }}
{{- if and .Values.policies.kyverno (not .Values.policies.admission) }}
{{- fail "policies.kyverno without policies.admission leaves nothing that holds while Kyverno is down: set policies.admission to true" }}
{{- end }}
{{- end }}

{{/* A rule of egress to the cluster's DNS. */}}
{{- define "aether.egressToDNS" -}}
- to:
  - namespaceSelector:
      matchLabels: {kubernetes.io/metadata.name: kube-system}
    podSelector:
      matchLabels: {k8s-app: kube-dns}
  ports:
  - {port: 53, protocol: UDP}
  - {port: 53, protocol: TCP}
{{- end }}

{{/* A rule of egress to ports anywhere: a NetworkPolicy cannot name the API server. */}}
{{- define "aether.egressToPorts" -}}
{{- with . }}
- ports:
  {{- range . }}
  - {port: {{ . }}}
  {{- end }}
{{- end }}
{{- end }}

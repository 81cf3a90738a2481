{{/*
The Deployment of a program that runs controllers, and the Service of its metrics:
(dict "root" . "program" "namespace-operator" "values" .Values.namespaceOperator).
*/}}
{{- define "aether.controller" -}}
{{- $root := .root }}
{{- $program := .program }}
{{- $values := .values }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $program }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "aether.labels" $root | nindent 4 }}
    {{- include "aether.selector" (list $root $program) | nindent 4 }}
spec:
  replicas: {{ $values.replicas }}
  selector:
    matchLabels:
      {{- include "aether.selector" (list $root $program) | nindent 6 }}
  # A new replica stands by before an old one goes; the leader hands over when it ends.
  strategy:
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  template:
    metadata:
      labels:
        {{- include "aether.labels" $root | nindent 8 }}
        {{- include "aether.selector" (list $root $program) | nindent 8 }}
        {{- with $values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        # A changed configuration makes new Pods.
        checksum/config: {{ include (print $root.Template.BasePath "/" $program "/config.yaml") $root | sha256sum }}
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ $program }}
      {{- include "aether.podSecurity" $root | nindent 6 }}
      {{- with $values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      terminationGracePeriodSeconds: 30
      containers:
      - name: {{ $program }}
        image: {{ include "aether.image" (list $root $program) }}
        imagePullPolicy: {{ $root.Values.image.pullPolicy }}
        args:
        - --config=/etc/aether/config.yaml
        {{- with $values.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- with $values.env }}
        env:
        {{- toYaml . | nindent 8 }}
        {{- end }}
        ports:
        - {name: metrics, containerPort: 8080}
        - {name: probes, containerPort: 8081}
        livenessProbe:
          httpGet: {path: /healthz, port: probes}
          initialDelaySeconds: 10
        readinessProbe:
          httpGet: {path: /readyz, port: probes}
          periodSeconds: 5
        resources:
          {{- toYaml $values.resources | nindent 10 }}
        {{- include "aether.containerSecurity" $root | nindent 8 }}
        volumeMounts:
        - {name: config, mountPath: /etc/aether, readOnly: true}
        - {name: tmp, mountPath: /tmp}
        {{- with $values.volumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      volumes:
      - name: config
        configMap: {name: {{ $program }}}
      # Where a program may write: artifacts of Flux while they are read.
      - name: tmp
        emptyDir: {}
      {{- with $values.volumes }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      {{- with $values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      affinity:
        {{- with $values.affinity }}
        {{- toYaml . | nindent 8 }}
        {{- else }}
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - weight: 100
            podAffinityTerm:
              topologyKey: kubernetes.io/hostname
              labelSelector:
                matchLabels:
                  {{- include "aether.selector" (list $root $program) | nindent 18 }}
        {{- end }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ $program }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "aether.labels" $root | nindent 4 }}
    {{- include "aether.selector" (list $root $program) | nindent 4 }}
spec:
  selector:
    {{- include "aether.selector" (list $root $program) | nindent 4 }}
  ports:
  - {name: metrics, port: 8080, targetPort: metrics}
{{- if and $values.podDisruptionBudget.enabled (gt (int $values.replicas) 1) }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $program }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "aether.labels" $root | nindent 4 }}
spec:
  minAvailable: 1
  selector:
    matchLabels:
      {{- include "aether.selector" (list $root $program) | nindent 6 }}
{{- end }}
{{- end }}

{{/*
A program's configuration file: (dict "root" . "program" "…" "kind" "…Config" "values" …
"defaults" …), of defaults that the chart has, and what is set over them.
*/}}
{{- define "aether.controllerConfig" -}}
{{- $config := dict "apiVersion" "config.aetherplatform.cloud/v1alpha1" "kind" .kind "namespace" .root.Release.Namespace "leaderElection" (dict "enabled" true) -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .program }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "aether.labels" .root | nindent 4 }}
data:
  config.yaml: |
    {{- toYaml (mustMergeOverwrite (deepCopy (.defaults | default dict)) (deepCopy .values.config) $config) | nindent 4 }}
{{- end }}

{{/* Names are fixed: the operator makes certificates for the Service atsign-directory, and there is one of each in a cluster. */}}

{{/* The labels of everything that belongs to the operator. */}}
{{- define "atsign-operator.labels" -}}
{{ include "atsign-operator.selector" . }}
app.kubernetes.io/component: operator
{{ include "atsign-operator.release-labels" . }}
{{- end }}

{{/* The labels of everything that belongs to the directory. */}}
{{- define "atsign-operator.directory.labels" -}}
{{ include "atsign-operator.directory.selector" . }}
app.kubernetes.io/component: directory
{{ include "atsign-operator.release-labels" . }}
{{- end }}

{{- define "atsign-operator.release-labels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: atsign-operator
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Selectors: for ever. */}}
{{- define "atsign-operator.selector" -}}
app.kubernetes.io/name: atsign-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "atsign-operator.directory.selector" -}}
app.kubernetes.io/name: atsign-directory
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* An image's full name: (list . .Values.operator.image) */}}
{{- define "atsign-operator.image" -}}
{{- $root := index . 0 }}{{ $image := index . 1 }}
{{- printf "%s:%s" $image.repository ($image.tag | default $root.Chart.AppVersion) }}
{{- end }}

{{/* What every pod here says for the restricted Pod Security Standard. */}}
{{- define "atsign-operator.pod-security" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "atsign-operator.container-security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Placement and the like, the same for both: .Values.operator or .Values.directory */}}
{{- define "atsign-operator.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* Egress that both need: names, and the API server. */}}
{{- define "atsign-operator.egress" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}

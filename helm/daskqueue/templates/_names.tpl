{{- define "daskqueue.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* The release's name, with the chart's where it is not in it already. */}}
{{- define "daskqueue.fullname" -}}
{{- $name := include "daskqueue.name" . }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- .Values.fullnameOverride | default $full | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "daskqueue.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Call with (list . component). */}}
{{- define "daskqueue.selector" -}}
{{- $top := first . -}}
app.kubernetes.io/name: {{ include "daskqueue.name" $top }}
app.kubernetes.io/instance: {{ $top.Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{- define "daskqueue.labels" -}}
{{- $top := first . -}}
{{ include "daskqueue.selector" . }}
app.kubernetes.io/version: {{ $top.Values.image.tag | default $top.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $top.Release.Service }}
helm.sh/chart: {{ $top.Chart.Name }}-{{ $top.Chart.Version | replace "+" "_" }}
{{- end }}

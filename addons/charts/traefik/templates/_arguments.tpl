{{- /* The static configuration, as a list of command-line arguments. */ -}}
{{- define "traefik.arguments" -}}
{{- range .Values.globalArguments }}
- {{ . | quote }}
{{- end }}
- --ping=true
{{- range $name, $port := .Values.ports }}
{{- if $port }}
{{- $entryPoint := printf "--entryPoints.%s" $name }}
- "{{ $entryPoint }}.address=:{{ $port.port }}/{{ default "TCP" $port.protocol | lower }}"
{{- if ne (default "TCP" $port.protocol) "UDP" }}
- "{{ $entryPoint }}.http.aliasHeadersStrategy={{ default "delete" $port.aliasHeadersStrategy }}"
{{- end }}
{{- if dig "tls" "enabled" false $port }}
- "{{ $entryPoint }}.http.tls=true"
{{- with dig "tls" "options" "" $port }}
- "{{ $entryPoint }}.http.tls.options={{ . }}"
{{- end }}
{{- end }}
{{- with dig "redirections" "entryPoint" dict $port }}
{{- $to := required "redirections.entryPoint.to is needed" .to }}
{{- $target := index $.Values.ports $to | required (printf "redirections.entryPoint.to: there is no entry point %s" $to) }}
- "{{ $entryPoint }}.http.redirections.entryPoint.to=:{{ default $target.port $target.exposedPort }}"
{{- with .scheme }}
- "{{ $entryPoint }}.http.redirections.entryPoint.scheme={{ . }}"
{{- end }}
{{- if hasKey . "permanent" }}
- "{{ $entryPoint }}.http.redirections.entryPoint.permanent={{ .permanent }}"
{{- end }}
{{- with .priority }}
- "{{ $entryPoint }}.http.redirections.entryPoint.priority={{ int . }}"
{{- end }}
{{- end }}
{{- range $kind := list "forwardedHeaders" "proxyProtocol" }}
{{- with index $port $kind }}
{{- with .trustedIPs }}
- "{{ $entryPoint }}.{{ $kind }}.trustedIPs={{ join "," . }}"
{{- end }}
{{- if .insecure }}
- "{{ $entryPoint }}.{{ $kind }}.insecure=true"
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.providers.kubernetesIngress }}
{{- if .enabled }}
- --providers.kubernetesingress=true
{{- if .allowEmptyServices }}
- --providers.kubernetesingress.allowEmptyServices=true
{{- end }}
{{- if .allowExternalNameServices }}
- --providers.kubernetesingress.allowExternalNameServices=true
{{- end }}
{{- if .publishedService.enabled }}
- --providers.kubernetesingress.ingressEndpoint.publishedService={{ $.Release.Namespace }}/{{ $.Release.Name }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.providers.kubernetesCRD }}
{{- if .enabled }}
- --providers.kubernetescrd=true
- --providers.kubernetescrd.safeNaming=true
{{- if .allowCrossNamespace }}
- --providers.kubernetescrd.allowCrossNamespace=true
{{- end }}
{{- if .allowEmptyServices }}
- --providers.kubernetescrd.allowEmptyServices=true
{{- end }}
{{- if .allowExternalNameServices }}
- --providers.kubernetescrd.allowExternalNameServices=true
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.providers.kubernetesGateway.enabled }}
- --providers.kubernetesgateway=true
- --providers.kubernetesgateway.statusAddress.service.namespace={{ .Release.Namespace }}
- --providers.kubernetesgateway.statusAddress.service.name={{ .Release.Name }}
{{- end }}
{{- if .Values.metrics.prometheus.enabled }}
- --metrics.prometheus=true
- --metrics.prometheus.entryPoint=metrics
{{- end }}
{{- if .Values.api.enabled }}
- --api=true
- --api.insecure={{ .Values.api.insecure }}
{{- end }}
- --log.level={{ .Values.logs.general.level }}
- --log.format={{ .Values.logs.general.format }}
{{- if eq .Values.logs.general.format "common" }}
- --log.noColor=true
{{- end }}
{{- if .Values.logs.access.enabled }}
- --accesslog=true
- --accesslog.format={{ .Values.logs.access.format }}
{{- end }}
{{- range .Values.additionalArguments }}
- {{ . | quote }}
{{- end }}
{{- end -}}

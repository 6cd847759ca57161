// In place of the module with which CoreDNS serves its metrics with TLS: see
// ../go.mod.
module github.com/prometheus/exporter-toolkit

go 1.26.0

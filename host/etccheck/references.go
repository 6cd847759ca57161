package etccheck

import (
	"fmt"
	"slices"
	"strings"
)

// references are fields of a pod that name objects of the API. The kubelet refuses
// static pods with any of them, since these must run without an API server
// (pkg/api/pod HasAPIObjectReference in Kubernetes).
type references struct {
	ServiceAccountName string `json:"serviceAccountName"`
	ServiceAccount     string `json:"serviceAccount"`
	ImagePullSecrets   []any  `json:"imagePullSecrets"`
	ResourceClaims     []any  `json:"resourceClaims"`
}

// volume is a volume with its source by the name of its kind.
type volume map[string]any

// apiVolumes are the kinds of volumes whose content is an object of the API.
var apiVolumes = []string{"configMap", "secret", "persistentVolumeClaim", "ephemeral"}

// secretRefs are the fields by which volumes of other kinds name a Secret.
var secretRefs = []string{"secretRef", "secretName", "nodePublishSecretRef"}

// checkReferences returns the references that keep a static pod from running, in one
// line.
func (s *spec) checkReferences() error {
	var found []string
	for name, is := range map[string]bool{
		"serviceAccountName": s.ServiceAccountName != "" || s.ServiceAccount != "",
		"imagePullSecrets":   len(s.ImagePullSecrets) > 0,
		"resourceClaims":     len(s.ResourceClaims) > 0,
	} {
		if is {
			found = append(found, name)
		}
	}
	for _, v := range s.Volumes {
		found = append(found, v.references()...)
	}
	for _, c := range slices.Concat(s.InitContainers, s.Containers) {
		found = append(found, c.references()...)
	}
	if len(found) == 0 {
		return nil
	}
	slices.Sort(found)
	return fmt.Errorf("the kubelet does not run static pods that need objects of the API server: remove %s", strings.Join(slices.Compact(found), ", "))
}

func (v volume) references() []string {
	var found []string
	for kind, source := range v {
		fields, ok := source.(map[string]any)
		switch {
		case slices.Contains(apiVolumes, kind):
			found = append(found, "volumes."+kind)
		case kind == "projected" && ok:
			found = append(found, projected(fields)...)
		case ok && slices.ContainsFunc(secretRefs, func(ref string) bool { return fields[ref] != nil }):
			found = append(found, "the secret of volumes."+kind)
		}
	}
	return found
}

// projected looks at the sources of a projected volume: only downwardAPI needs no
// object.
func projected(fields map[string]any) []string {
	var found []string
	sources, _ := fields["sources"].([]any)
	for _, source := range sources {
		kinds, _ := source.(map[string]any)
		for kind := range kinds {
			if kind != "downwardAPI" {
				found = append(found, "volumes.projected."+kind)
			}
		}
	}
	return found
}

func (c *container) references() []string {
	var found []string
	if len(c.EnvFrom) > 0 {
		found = append(found, "envFrom")
	}
	for _, e := range c.Env {
		if e.ValueFrom.ConfigMapKeyRef != nil {
			found = append(found, "env.valueFrom.configMapKeyRef")
		}
		if e.ValueFrom.SecretKeyRef != nil {
			found = append(found, "env.valueFrom.secretKeyRef")
		}
	}
	return found
}
